//! Runs a command in an image; see `tools::commands::layer_run`.
#![forbid(unsafe_code)]

fn main() -> std::process::ExitCode {
    // The built-in runtime starts this program once more, in the container.
    if let Some(status) = runtime::builtin::enter() {
        return status;
    }
    tools::commands::layer_run::main()
}
