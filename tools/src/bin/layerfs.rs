//! Docker's storage, offline; see `tools::commands::layerfs`.
#![forbid(unsafe_code)]

fn main() -> std::process::ExitCode {
    tools::commands::layerfs::main()
}
