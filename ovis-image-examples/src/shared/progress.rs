//! Progress bars on stderr, silent if stderr is not a terminal.

use std::time::Duration;

use burn::tensor::backend::Backend;
use indicatif::{ProgressBar, ProgressStyle};
use ovis_image::Progress;

use super::program::say;

const TEMPLATE: &str = "{msg} {wide_bar} {pos}/{len} steps, {elapsed} so far, {eta} left";

/// Shows the phases of a run and its steps. Dropping it clears the line.
#[derive(Debug)]
pub struct StepBar(ProgressBar);

impl StepBar {
    /// Creates a spinner that says `loading` until the number of steps is known.
    pub fn loading() -> Self {
        let bar = ProgressBar::new_spinner().with_message("loading");
        // A step of a large model takes long; the clock must run meanwhile.
        bar.enable_steady_tick(Duration::from_millis(200));
        Self(bar)
    }

    /// Shows what the pipeline reports.
    pub fn show<B: Backend>(&self, progress: &Progress<'_, B>) {
        match progress {
            Progress::EncodingPrompts { total_steps, .. } => {
                if let Ok(style) = ProgressStyle::with_template(TEMPLATE) {
                    self.0.set_style(style);
                }
                self.0.set_length(*total_steps as u64);
                self.0.set_position(0);
                self.0.set_message("encoding the prompt");
                self.restart_clock();
            }
            Progress::Denoising(_) => {
                self.0.set_message("denoising");
                // Of two passes, each counts its own steps.
                self.0.inc(1);
            }
            Progress::Upscaling { .. } => self.0.set_message("upscaling"),
            Progress::DecodingLatents { .. } => self.0.set_message("decoding"),
            _ => {}
        }
    }

    /// Writes a line to stderr above the bar.
    pub fn say(&self, line: &str) {
        self.0.suspend(|| say(line));
    }

    /// Restarts the clock after loading, which would spoil the estimate of the time left.
    fn restart_clock(&self) {
        self.0.reset_elapsed();
        self.0.reset_eta();
    }
}

const BYTES: &str = "{msg} {wide_bar} {bytes}/{total_bytes}, {bytes_per_sec}, {eta} left";

/// Shows the bytes of a download or of a file that is written, and their speed. Dropping it clears
/// the line.
#[derive(Debug)]
pub struct BytesBar(ProgressBar);

impl BytesBar {
    /// Creates a bar that is empty until the first report.
    #[allow(
        clippy::new_without_default,
        reason = "an empty bar is no useful value"
    )]
    pub fn new() -> Self {
        let bar = ProgressBar::no_length();
        if let Ok(style) = ProgressStyle::with_template(BYTES) {
            bar.set_style(style);
        }
        Self(bar)
    }

    /// Shows how much is done.
    pub fn show(&self, what: impl Into<String>, done: u64, total: u64) {
        self.0.set_message(what.into());
        self.0.set_length(total);
        self.0.set_position(done);
    }
}

/// Shows how many of many small things are done. Dropping it clears the line.
#[derive(Debug)]
pub struct CountBar(ProgressBar);

impl CountBar {
    /// Creates a bar that counts to `total`; `things` is the plural that it shows.
    pub fn new(things: &str, total: u64) -> Self {
        let bar = ProgressBar::new(total);
        let template = format!("{{wide_bar}} {{pos}}/{{len}} {things}, {{per_sec}}, {{eta}} left");
        if let Ok(style) = ProgressStyle::with_template(&template) {
            bar.set_style(style);
        }
        Self(bar)
    }

    /// Counts one more. Threads may call it at the same time.
    pub fn advance(&self) {
        self.0.inc(1);
    }
}
