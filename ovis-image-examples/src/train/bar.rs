//! Progress of a run on stderr, silent if stderr is not a terminal.

use std::time::Instant;

use indicatif::{ProgressBar, ProgressStyle};
use ovis_image::training::StepReport;

use crate::shared::terminal::say;

const TEMPLATE: &str = "{wide_bar} {pos}/{len} steps, {msg}, {eta} left";

/// Progress bar of steps with the loss and the speed.
#[derive(Debug)]
pub struct TrainBar {
    bar: ProgressBar,
    loss: Option<f64>,
    last: Instant,
    images: usize,
    speed: f64,
}

/// Weight of the newest value in the displayed average.
const NEWEST: f64 = 0.05;

impl TrainBar {
    /// Creates a bar for a run that has already finished some steps.
    pub fn new(done: u64, total: u64) -> Self {
        let bar = ProgressBar::new(total).with_position(done);
        if let Ok(style) = ProgressStyle::with_template(TEMPLATE) {
            bar.set_style(style);
        }
        bar.reset_eta();
        Self {
            bar,
            loss: None,
            last: Instant::now(),
            images: 0,
            speed: 0.0,
        }
    }

    /// Counts the images of a batch.
    pub fn count(&mut self, images: usize) {
        self.images += images;
    }

    /// Restarts the clock that measures the speed, after work that is not training.
    pub fn restart_clock(&mut self) {
        self.last = Instant::now();
    }

    /// Shows a step. Returns the speed of its batches in images per second.
    pub fn show(&mut self, report: &StepReport) -> f64 {
        let seconds = self.last.elapsed().as_secs_f64().max(1e-9);
        let speed = std::mem::take(&mut self.images) as f64 / seconds;
        self.restart_clock();
        let loss = report.terms.loss();
        let mixed = |old: f64, new: f64| old + NEWEST * (new - old);
        self.loss = Some(self.loss.map_or(loss, |old| mixed(old, loss)));
        self.speed = if self.speed == 0.0 {
            speed
        } else {
            mixed(self.speed, speed)
        };
        let shown = self.loss.unwrap_or(loss);
        self.bar.set_position(report.step);
        self.bar.set_message(format!(
            "loss {shown:.4}, rate {:.2e}, {:.1} images/s",
            report.learning_rate, self.speed
        ));
        speed
    }

    /// Writes a line above the bar.
    pub fn say(&self, line: &str) {
        self.bar.suspend(|| say(line));
    }
}

impl Drop for TrainBar {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
