//! Says what may go from a Docker data-root, and why; see `tools::commands::image_gc`.
#![forbid(unsafe_code)]

fn main() -> std::process::ExitCode {
    tools::commands::image_gc::main()
}
