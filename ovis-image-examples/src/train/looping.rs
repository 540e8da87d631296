//! Training loop: takes one batch after another, and writes checkpoints, validations, samples and
//! exports when they are due.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use burn::backend::Autodiff;
use burn::tensor::backend::Backend;
use ovis_image::error::{OvisImageError, StateError};
use ovis_image::training::{StepReport, Trainer};
use serde_json::Value;

use super::bar::TrainBar;
use super::error::TrainError;
use super::folder::RunFolder;
use super::log::{self, Log};
use super::queue::{BatchSource, Queue};
use super::resolved::Resolved;
use super::signals::{Pauses, Signals};
use super::stage::{Stage, TrainedBatch, TrainedModels, export};
use crate::shared::output_file::write_whole;
use crate::shared::terminal::{say, shown};

/// Outcome of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// All steps are done.
    Finished,
    /// The user stopped the run.
    Stopped,
}

/// Settings, folder and signals of a run, without its models.
#[derive(Debug)]
pub struct RunContext<'a> {
    /// Settings in force.
    pub resolved: &'a Resolved,
    /// Folder of the run.
    pub folder: &'a RunFolder,
    /// Requests of the user during the run.
    pub signals: &'a Signals,
}

type TrainerOf<B, S> = Trainer<Autodiff<B>, <S as Stage<B>>::Objective>;

/// A run in progress.
struct Loop<'a, B: Backend, S: Stage<B>> {
    context: &'a RunContext<'a>,
    settings: Value,
    stage: S,
    trainer: TrainerOf<B, S>,
    log: Log,
    bar: TrainBar,
    saved: Instant,
    saved_step: Option<u64>,
    /// True after too many validations without a lower loss.
    ends_early: bool,
}

/// Trains to the end, or until the user stops it.
///
/// # Errors
/// Returns the errors of the models, of the data and of writing.
pub fn train<B, S, Q>(
    context: &RunContext<'_>,
    stage: S,
    models: TrainedModels<B, S>,
    objective: S::Objective,
    source: &Q,
    device: &B::Device,
) -> Result<Ending>
where
    B: Backend,
    S: Stage<B>,
    TrainedBatch<B, S>: Send + 'static,
    Q: BatchSource<Batch = TrainedBatch<B, S>>,
{
    let resolved = context.resolved;
    let mut trainer = Trainer::new(objective, models, resolved.trainer_config())?;
    let mut saved_step = None;
    if let Some((state, path)) = context.folder.last_state::<B>(device)? {
        trainer.restore(state).map_err(|error| match error {
            OvisImageError::State(
                source @ (StateError::AnotherModel { .. } | StateError::AnotherAccumulation { .. }),
            ) => anyhow::Error::new(TrainError::AnotherRun {
                path: path.clone(),
                source,
            }),
            other => other.into(),
        })?;
        saved_step = Some(trainer.steps());
        say(&format!(
            "resumed after step {} of {}",
            trainer.steps(),
            resolved.steps
        ));
    }
    let end = resolved
        .steps
        .saturating_mul(u64::from(resolved.accumulation));
    let mut queue = Queue::start(source, resolved.data_threads, trainer.batches(), end)?;
    let log = Log::open(&context.folder.log(), trainer.steps())?;
    let bar = TrainBar::new(trainer.steps(), resolved.steps);
    let mut run = Loop::<B, S> {
        context,
        settings: serde_json::to_value(resolved)?,
        stage,
        trainer,
        log,
        bar,
        saved: Instant::now(),
        saved_step,
        ends_early: false,
    };
    if resolved.patience > 0 {
        let since = log::validations_since_best(&context.folder.log())?;
        run.ends_early = since >= resolved.patience as usize;
    }
    let mut pauses = Pauses::new(context.signals.clone(), context.folder.path());
    while !run.trainer.is_finished() && !run.ends_early {
        pauses.wait();
        if context.signals.stops() {
            return run.stop();
        }
        let batch = queue.take()?;
        run.learn(batch)?;
    }
    run.finish()
}

/// Returns the path of the best export beside the last one.
fn best(model: &Path) -> PathBuf {
    let stem = model.file_stem().unwrap_or_default().to_string_lossy();
    let name = match model.extension() {
        Some(extension) => format!("{stem}-best.{}", extension.to_string_lossy()),
        None => format!("{stem}-best"),
    };
    model.with_file_name(name)
}

impl<B: Backend, S: Stage<B>> Loop<'_, B, S> {
    /// Trains on a batch, and does what is due after its step.
    fn learn(&mut self, batch: TrainedBatch<B, S>) -> Result<()> {
        self.bar.count(self.stage.images_of(&batch));
        let images = self.trainer.batches() * self.context.resolved.batch_size as u64;
        self.stage
            .before_batch(self.trainer.objective_mut(), images);
        let learned = self.trainer.micro_step(batch);
        let Some(report) = learned.with_context(|| self.after_failure())? else {
            return Ok(());
        };
        let speed = self.bar.show(&report);
        self.log.step(&report, speed)?;
        if report.skipped {
            let step = report.step;
            self.bar.say(&format!(
                "step {step} was skipped: its loss or gradient is out of range"
            ));
        }
        self.after_step(&report)
    }

    fn after_failure(&self) -> String {
        match self.saved_step {
            Some(step) => format!("the checkpoint of step {step} is kept"),
            None => "no checkpoint was written yet".to_owned(),
        }
    }

    fn after_step(&mut self, report: &StepReport) -> Result<()> {
        let resolved = self.context.resolved;
        let (step, last) = (report.step, self.trainer.is_finished());
        let due = |every: u64| every > 0 && (step.is_multiple_of(every) || last);
        if due(resolved.validate_every) {
            self.validate()?;
        }
        if due(resolved.sample_every) {
            self.sample()?;
        }
        let minutes = Duration::try_from_secs_f64(60.0 * resolved.checkpoint_minutes);
        let late = resolved.checkpoint_minutes > 0.0
            && minutes.is_ok_and(|minutes| self.saved.elapsed() >= minutes);
        if due(resolved.checkpoint_every) || late {
            self.save_if_possible();
        }
        if due(resolved.export_every) && !last {
            self.export()?;
        }
        self.bar.restart_clock();
        Ok(())
    }

    fn validate(&mut self) -> Result<()> {
        let models = self.trainer.models();
        let mut line = self.stage.validate(self.trainer.objective(), models)?;
        if line.is_empty() {
            return Ok(());
        }
        if let Some(averaged) = self.trainer.averaged_models() {
            let of_average = self.stage.validate(self.trainer.objective(), &averaged)?;
            line.insert("ema".to_owned(), Value::Object(of_average));
        }
        line.insert("step".to_owned(), self.trainer.steps().into());
        let value = line.get("validation").and_then(Value::as_f64);
        self.bar.say(&format!(
            "step {}: validation {:.4}",
            self.trainer.steps(),
            value.unwrap_or(f64::NAN)
        ));
        self.log.write(&Value::Object(line))?;
        self.watch_validations()
    }

    /// With a patience, exports the models of the best validation, and ends the run after too many
    /// that are not better.
    fn watch_validations(&mut self) -> Result<()> {
        let patience = self.context.resolved.patience;
        if patience == 0 {
            return Ok(());
        }
        let since = log::validations_since_best(&self.context.folder.log())?;
        if since == 0 {
            let [model, _] = self.stage.exports(self.context.folder);
            let averaged = self.trainer.averaged_models();
            let models = averaged.as_ref().unwrap_or_else(|| self.trainer.models());
            return export::<B, S>(&self.stage, models, &best(&model));
        }
        if since >= patience as usize {
            self.bar.say(&format!(
                "the last {since} validations were not better than the best one: the run ends"
            ));
            self.ends_early = true;
        }
        Ok(())
    }

    fn sample(&mut self) -> Result<()> {
        let averaged = self.trainer.averaged_models();
        let models = averaged.as_ref().unwrap_or_else(|| self.trainer.models());
        let Some(grid) = self.stage.sample(models)? else {
            return Ok(());
        };
        let mut png = std::io::Cursor::new(Vec::new());
        grid.write_to(&mut png, image::ImageFormat::Png)?;
        let path = self.context.folder.samples(self.trainer.steps());
        write_whole(&path, &png.into_inner())
    }

    /// Saves the state.
    fn save(&mut self) -> Result<()> {
        let keep = self.context.resolved.keep_every;
        let state = self.trainer.state();
        self.context.folder.save(&state, &self.settings, keep)?;
        self.saved = Instant::now();
        self.saved_step = Some(self.trainer.steps());
        Ok(())
    }

    /// Saves the state. A full disk does not end the run: the checkpoint before remains, and the
    /// next one is tried when it is due.
    fn save_if_possible(&mut self) {
        if let Err(error) = self.save() {
            let reason = crate::shared::error_chain::one_line(&error);
            self.bar
                .say(&format!("warning: no checkpoint was written: {reason}"));
            self.saved = Instant::now();
        }
    }

    fn export(&self) -> Result<()> {
        let [model, averaged_model] = self.stage.exports(self.context.folder);
        export::<B, S>(&self.stage, self.trainer.models(), &model)?;
        if let Some(averaged) = self.trainer.averaged_models() {
            export::<B, S>(&self.stage, &averaged, &averaged_model)?;
        }
        Ok(())
    }

    fn stop(mut self) -> Result<Ending> {
        self.save()?;
        let step = self.trainer.steps();
        drop(self.bar);
        say(&format!(
            "stopped after step {step}; run the same command with --resume to continue"
        ));
        Ok(Ending::Stopped)
    }

    fn finish(mut self) -> Result<Ending> {
        if self.saved_step != Some(self.trainer.steps()) && self.context.resolved.replay.is_none() {
            self.save()?;
        }
        self.export()?;
        let log = self.context.folder.log();
        if let Some(svg) = log::plot(&log)? {
            write_whole(&self.context.folder.model("log.svg"), svg.as_bytes())?;
        }
        drop(self.bar);
        let [model, _] = self.stage.exports(self.context.folder);
        say(&format!(
            "finished after step {}: {}",
            self.trainer.steps(),
            shown(&model)
        ));
        let best = best(&model);
        if self.context.resolved.patience > 0 && best.exists() {
            say(&format!("of the best validation: {}", shown(&best)));
        }
        Ok(Ending::Finished)
    }
}
