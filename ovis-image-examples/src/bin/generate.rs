//! Prompt to PNG from the command line; `--help` lists everything.

use std::process::ExitCode;

fn main() -> ExitCode {
    ovis_image_examples::generate::run::main()
}
