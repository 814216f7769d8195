//! What may go from a Docker data-root, and why.
#![forbid(unsafe_code)]

fn main() -> std::process::ExitCode {
    tools::commands::image_gc::main()
}
