//! Ctrl-C and requests to end: a program that stops leaves no temporary files.

use std::process;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result};

use super::output_file;

/// Exit code of a program that was interrupted, as shells count it.
pub const EXIT_CODE: u8 = 130;

/// Ends the program when the system asks it to, but not while an output file is being written.
///
/// # Errors
/// Returns the system's error.
pub fn exit_between_files() -> Result<()> {
    handle(|| {
        let _written = output_file::wait_until_written();
        process::exit(EXIT_CODE.into());
    })
}

/// Returns a flag that is set when the system asks the program to end, which then must do so. If it
/// is asked again, it ends at once.
///
/// # Errors
/// Returns the system's error.
pub fn flag() -> Result<Arc<AtomicBool>> {
    let asked = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&asked);
    handle(move || {
        if flag.swap(true, Ordering::Relaxed) {
            process::exit(EXIT_CODE.into());
        }
    })?;
    Ok(asked)
}

fn handle(action: impl FnMut() + Send + 'static) -> Result<()> {
    ctrlc::set_handler(action).context("cannot listen for interruptions")
}
