//! A checkpoint in another layout, or with a quantized transformer for ComfyUI.

use std::process::ExitCode;

fn main() -> ExitCode {
    ovis_image_examples::convert::main()
}
