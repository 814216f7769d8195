//! Docker's storage, offline; see `tools::commands::layerfs`.
#![forbid(unsafe_code)]

fn main() -> std::process::ExitCode {
    // The built-in runtime starts this program once more, in the container.
    if let Some(status) = runtime::builtin::enter() {
        return status;
    }
    tools::commands::layerfs::main()
}
