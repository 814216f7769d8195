//! Unpacks images and layers; see `tools::commands::layer_unpack`.
#![forbid(unsafe_code)]

fn main() -> std::process::ExitCode {
    tools::commands::layer_unpack::main()
}
