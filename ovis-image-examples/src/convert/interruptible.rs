//! Work on a checkpoint that shows its progress and can be interrupted.

use std::ops::ControlFlow;
use std::sync::atomic::Ordering;

use anyhow::Result;
use ovis_image::checkpoint::ExportProgress;
use ovis_image::error::{OvisImageError, RuntimeError};

use crate::shared::interrupt;
use crate::shared::program::say;
use crate::shared::progress::BytesBar;

/// Does work that reports its progress, shown as a bar with a verb. Returns `None`, after saying
/// so, if the work was interrupted.
///
/// # Errors
/// Returns the errors of the work.
pub(super) fn interruptible<T>(
    verb: &'static str,
    work: impl FnOnce(&mut dyn FnMut(ExportProgress) -> ControlFlow<()>) -> ovis_image::Result<T>,
) -> Result<Option<T>> {
    let interrupted = interrupt::flag()?;
    let bar = BytesBar::new();
    let done = work(&mut |progress| {
        bar.show(verb, progress.written, progress.total);
        if interrupted.load(Ordering::Relaxed) {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    });
    drop(bar);
    match done {
        Err(error @ OvisImageError::Runtime(RuntimeError::ExportCanceled { .. })) => {
            say(&format!("error: {error}"));
            Ok(None)
        }
        done => Ok(Some(done?)),
    }
}
