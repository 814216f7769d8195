//! `peers`: measures `layer-unpack` against its peers, and writes the report.

use std::process::ExitCode;

fn main() -> ExitCode {
    benches::peers::command_line::main()
}
