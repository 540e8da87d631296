//! Requests of a user to a running program: to stop, and to pause.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Result;

use crate::shared::interrupt;
use crate::shared::terminal::say;

/// Name of the file that pauses a run while it exists.
pub const PAUSE_FILE: &str = "PAUSE";

/// Time between checks for the file while a run pauses.
const LOOK: Duration = Duration::from_millis(300);

/// Flags that signals set.
#[derive(Debug, Clone)]
pub struct Signals {
    stop: Arc<AtomicBool>,
    toggled: Arc<AtomicBool>,
}

impl Signals {
    /// Listens for Ctrl-C, for requests to end, and on Unix for SIGUSR1.
    ///
    /// # Errors
    /// Returns the system's error.
    pub fn listen() -> Result<Self> {
        let toggled = Arc::new(AtomicBool::new(false));
        #[cfg(unix)]
        signal_hook::flag::register(signal_hook::consts::SIGUSR1, Arc::clone(&toggled))?;
        Ok(Self {
            stop: interrupt::flag()?,
            toggled,
        })
    }

    /// Returns true if the program was asked to stop.
    pub fn stops(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }
}

/// Pauses of a run: by a file in its folder, or by SIGUSR1, which alternately pauses and resumes.
#[derive(Debug)]
pub struct Pauses {
    signals: Signals,
    file: PathBuf,
    by_signal: bool,
}

impl Pauses {
    /// Watches the folder of a run.
    pub fn new(signals: Signals, folder: &Path) -> Self {
        Self {
            signals,
            file: folder.join(PAUSE_FILE),
            by_signal: false,
        }
    }

    /// Waits while the run is paused. Returns at once if the program is asked to stop.
    pub fn wait(&mut self) {
        let mut said = false;
        while self.is_paused() && !self.signals.stops() {
            if !said {
                let file = self.file.display();
                say(&format!(
                    "paused: remove {file}, or send SIGUSR1 if that paused it"
                ));
                said = true;
            }
            std::thread::sleep(LOOK);
        }
        if said {
            say("resumed");
        }
    }

    fn is_paused(&mut self) -> bool {
        if self.signals.toggled.swap(false, Ordering::Relaxed) {
            self.by_signal = !self.by_signal;
        }
        self.by_signal || self.file.exists()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_or_a_signal_pauses_and_a_stop_ends_the_pause() {
        let folder = tempfile::tempdir().unwrap();
        let signals = Signals {
            stop: Arc::new(AtomicBool::new(false)),
            toggled: Arc::new(AtomicBool::new(false)),
        };
        let mut pauses = Pauses::new(signals.clone(), folder.path());
        assert!(!pauses.is_paused());
        signals.toggled.store(true, Ordering::Relaxed);
        assert!(pauses.is_paused() && pauses.is_paused());
        signals.toggled.store(true, Ordering::Relaxed);
        assert!(!pauses.is_paused());
        std::fs::write(folder.path().join(PAUSE_FILE), "").unwrap();
        assert!(pauses.is_paused());
        signals.stop.store(true, Ordering::Relaxed);
        pauses.wait();
    }
}
