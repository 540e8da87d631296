//! What a checkpoint holds and what it takes to run it, without loading it.

use std::process::ExitCode;

fn main() -> ExitCode {
    ovis_image_examples::inspect::main()
}
