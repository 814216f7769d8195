//! Says where the bytes of a data-root are; see `tools::commands::image_du`.
#![forbid(unsafe_code)]

fn main() -> std::process::ExitCode {
    tools::commands::image_du::main()
}
