use burn::module::Module;
use burn::tensor::DType;
use burn::tensor::backend::{AutodiffBackend, Backend};
use serde::{Deserialize, Serialize};

use super::module_update::{MasterWeights, ParameterUpdate, with_values};
use super::optimizer::{MovingAverage, Optimizer, gradient_norm};
use super::parameter_map::visit_parameters;
use super::state::Position;
use super::{
    LearningRate, LossTerms, Objective, OptimizerConfig, Outcome, ParameterMap, TrainingState,
};
use crate::error::{OvisImageError, Result, RuntimeError, StateError};

/// Time at which a step updates parameters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum UpdateTime {
    /// After the backward pass, when all gradients are known.
    #[default]
    AfterBackward,
    /// During the backward pass: the parameters of a part, such as a block, are updated as soon as
    /// their gradients are known, and the gradients are dropped. The objective decides what a part
    /// is; [`FlowMatching`](super::FlowMatching) has parts with
    /// [`Recomputation::Blocks`](super::Recomputation::Blocks).
    ///
    /// The norm of all gradients is known only afterwards. So gradients cannot be clipped by it,
    /// steps cannot be skipped as spikes, and a step has one batch. If gradients become infinite or
    /// NaN inside of a backward pass, the parts before them are already updated.
    DuringBackward,
}

/// Numeric settings of a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TrainerConfig {
    /// Number of steps of the whole run, which the learning rate schedule needs.
    pub total_steps: u64,
    /// Learning rate of every step.
    pub learning_rate: LearningRate,
    /// Optimizer and its constants.
    pub optimizer: OptimizerConfig,
    /// Copies of parameters in bf16 that the optimizer changes.
    pub master_weights: MasterWeights,
    /// Time at which parameters are updated.
    pub update_time: UpdateTime,
    /// Largest global norm of the gradients; larger ones are scaled down.
    pub max_grad_norm: Option<f64>,
    /// Number of batches whose gradients are averaged for a step.
    pub accumulation: u32,
    /// Decay of the moving average of the parameters; `None` keeps none.
    pub ema_decay: Option<f64>,
    /// Multiple of the mean of recent norms above which a step is skipped as a spike.
    pub spike_factor: Option<f64>,
    /// Number of consecutive skipped steps that ends the run.
    pub most_skipped: u32,
}

impl Default for TrainerConfig {
    fn default() -> Self {
        Self {
            total_steps: 1000,
            learning_rate: LearningRate::constant(1e-4),
            optimizer: OptimizerConfig::default(),
            master_weights: MasterWeights::F32,
            update_time: UpdateTime::AfterBackward,
            max_grad_norm: Some(1.0),
            accumulation: 1,
            ema_decay: None,
            spike_factor: None,
            most_skipped: 10,
        }
    }
}

impl TrainerConfig {
    /// Checks that the settings are in range.
    ///
    /// # Errors
    /// Returns [`RequestError::InvalidArgument`](crate::error::RequestError) that names the field.
    pub fn validate(&self) -> Result<()> {
        let positive = |name: &'static str, value: f64| {
            if value.is_finite() && value > 0.0 {
                return Ok(());
            }
            Err(OvisImageError::argument(
                name,
                format!("{value} is not a positive number"),
            ))
        };
        let share = |name: &'static str, value: f64| {
            if (0.0..1.0).contains(&value) {
                return Ok(());
            }
            Err(OvisImageError::argument(
                name,
                format!("{value} is not between 0 and 1"),
            ))
        };
        positive("learning_rate.peak", self.learning_rate.peak)?;
        self.optimizer.validate()?;
        if let Some(norm) = self.max_grad_norm {
            positive("max_grad_norm", norm)?;
        }
        if let Some(decay) = self.ema_decay {
            share("ema_decay", decay)?;
        }
        if let Some(factor) = self.spike_factor {
            positive("spike_factor", factor - 1.0)?;
        }
        if self.total_steps == 0 {
            let reason = "a run needs at least one step";
            return Err(OvisImageError::argument("total_steps", reason));
        }
        if self.accumulation == 0 {
            let reason = "a step needs at least one batch";
            return Err(OvisImageError::argument("accumulation", reason));
        }
        self.check_update_time()
    }

    /// Checks that nothing needs all gradients if they do not exist at once.
    fn check_update_time(&self) -> Result<()> {
        if self.update_time == UpdateTime::AfterBackward {
            return Ok(());
        }
        let refused = |name, use_of_gradients: &str| {
            let reason = format!(
                "{use_of_gradients} needs all gradients at once, but updates during the backward \
                 pass (update_time) drop them: leave out one of the two"
            );
            Err(OvisImageError::argument(name, reason))
        };
        if self.max_grad_norm.is_some() {
            return refused("max_grad_norm", "clipping by the global norm");
        }
        if self.spike_factor.is_some() {
            return refused("spike_factor", "skipping steps by the global norm");
        }
        if self.accumulation > 1 {
            return refused("accumulation", "a step of several batches");
        }
        Ok(())
    }
}

/// Result of a step.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct StepReport {
    /// Number of the step, from 1.
    pub step: u64,
    /// Losses, means over the step's batches.
    pub terms: LossTerms,
    /// Global norm of the gradients before clipping.
    pub grad_norm: f64,
    /// Learning rate.
    pub learning_rate: f64,
    /// True if the step was skipped and the parameters did not change (but see
    /// [`UpdateTime::DuringBackward`]), because the loss or norm was not finite or the norm was a
    /// spike.
    pub skipped: bool,
}

/// Training run: models, optimizer and position, advanced one batch at a time.
#[derive(Debug)]
pub struct Trainer<A: AutodiffBackend, O: Objective<A>> {
    objective: O,
    /// Models, absent only while a step updates their parameters.
    models: Option<O::Models>,
    config: TrainerConfig,
    optimizer: Optimizer<A::InnerBackend>,
    average: Option<MovingAverage<A::InnerBackend>>,
    masters: ParameterMap<A::InnerBackend>,
    accumulated: ParameterMap<A::InnerBackend>,
    accumulated_terms: LossTerms,
    position: Position,
}

/// Weight of the newest norm in the mean with which spikes are compared.
const NORM_WEIGHT: f64 = 0.02;
/// Number of steps before spikes are detected.
const NORM_WARM_UP: u64 = 50;

impl<A: AutodiffBackend, O: Objective<A>> Trainer<A, O> {
    /// Starts a run at step 0.
    ///
    /// # Errors
    /// Returns the error of [`TrainerConfig::validate`].
    pub fn new(objective: O, models: O::Models, config: TrainerConfig) -> Result<Self> {
        config.validate()?;
        Ok(Self {
            objective,
            models: Some(models),
            optimizer: Optimizer::new(config.optimizer),
            average: config.ema_decay.map(MovingAverage::new),
            masters: ParameterMap::new(),
            accumulated: ParameterMap::new(),
            accumulated_terms: LossTerms::default(),
            position: Position::default(),
            config,
        })
    }

    /// Returns the models with their current parameters.
    pub fn models(&self) -> &O::Models {
        match &self.models {
            Some(models) => models,
            None => unreachable!("a step puts the models back, or panics"),
        }
    }

    /// Returns the models with the moving average of their parameters; `None` without one.
    pub fn averaged_models(&self) -> Option<O::Models> {
        let average = self.average.as_ref()?;
        Some(with_values(self.models().clone(), average.values()).0)
    }

    /// Returns the objective.
    pub fn objective(&self) -> &O {
        &self.objective
    }

    /// Returns the objective mutably, to change weights between steps.
    pub fn objective_mut(&mut self) -> &mut O {
        &mut self.objective
    }

    /// Returns the number of finished steps, skipped ones included.
    pub fn steps(&self) -> u64 {
        self.position.step
    }

    /// Returns the number of skipped steps.
    pub fn skipped_steps(&self) -> u64 {
        self.position.skipped
    }

    /// Returns the number of batches seen so far, which is also the number of the next one.
    pub fn batches(&self) -> u64 {
        let accumulation = u64::from(self.config.accumulation);
        let finished = self.position.step.saturating_mul(accumulation);
        finished.saturating_add(u64::from(self.position.micro_step))
    }

    /// Returns true if all steps are done.
    pub fn is_finished(&self) -> bool {
        self.position.step >= self.config.total_steps
    }

    /// Learns from one batch. Returns a report if it was the last one of its step.
    ///
    /// # Errors
    /// Returns the objective's error, or [`RuntimeError::Diverged`] after too many skipped steps in
    /// a row. The parameters are those before them, except with [`UpdateTime::DuringBackward`]:
    /// parts that came before the first gradient that is not finite are already updated.
    pub fn micro_step(&mut self, batch: O::Batch) -> Result<Option<StepReport>> {
        if self.config.update_time == UpdateTime::DuringBackward {
            return self.step_by_part(batch).map(Some);
        }
        let Outcome { terms, gradients } = self.objective.gradients(self.models(), batch)?;
        let share = 1.0 / f64::from(self.config.accumulation);
        self.accumulated_terms.add_share(&terms, share);
        if self.accumulated.is_empty() {
            self.accumulated = gradients;
        } else {
            self.accumulated.add_all(gradients);
        }
        self.position.micro_step += 1;
        if self.position.micro_step < self.config.accumulation {
            return Ok(None);
        }
        self.step().map(Some)
    }

    fn step(&mut self) -> Result<StepReport> {
        let mut gradients = std::mem::take(&mut self.accumulated);
        let terms = std::mem::take(&mut self.accumulated_terms);
        if self.config.accumulation > 1 {
            gradients.scale(1.0 / self.config.accumulation as f32);
        }
        let norm = gradient_norm(&gradients, self.config.max_grad_norm);
        let skipped =
            !norm.norm.is_finite() || !terms.loss().is_finite() || self.is_spike(norm.norm);
        // Parameters are updated in their own memory if nobody else holds them.
        if !skipped && let Some(models) = self.models.take() {
            let mut update = self.update(norm.scale, None).0;
            let models = update.apply("", models, gradients);
            self.models = Some(models);
        }
        self.finish_step(terms, norm.norm, skipped)
    }

    /// Takes a step that updates each part of the models in the backward pass.
    fn step_by_part(&mut self, batch: O::Batch) -> Result<StepReport> {
        let Some(models) = self.models.take() else {
            unreachable!("a step puts the models back, or panics");
        };
        let (mut update, objective) = self.update(1.0, Some(0.0));
        let (models, terms) = objective.update_by_part(models, batch, &mut update);
        let norm = update.squares.unwrap_or_default().sqrt();
        self.models = Some(models);
        let terms = terms?;
        let skipped = !norm.is_finite() || !terms.loss().is_finite();
        self.finish_step(terms, norm, skipped)
    }

    /// Prepares the update of a step, beside the objective. `squares` sums the squared gradients, if
    /// their norm is not known yet.
    fn update(
        &mut self,
        gradient_scale: f32,
        squares: Option<f64>,
    ) -> (ParameterUpdate<'_, A::InnerBackend>, &O) {
        let update = ParameterUpdate {
            learning_rate: self.learning_rate(),
            optimizer: &mut self.optimizer,
            gradient_scale,
            master_weights: self.config.master_weights,
            masters: &mut self.masters,
            average: self.average.as_mut(),
            started: None,
            squares,
        };
        (update, &self.objective)
    }

    /// Counts a step, and reports it.
    fn finish_step(&mut self, terms: LossTerms, norm: f64, skipped: bool) -> Result<StepReport> {
        let learning_rate = self.learning_rate();
        let position = &mut self.position;
        let number = position.step.saturating_add(1);
        position.step = number;
        position.micro_step = 0;
        if skipped {
            position.skipped_in_a_row = position.skipped_in_a_row.saturating_add(1);
            position.skipped = position.skipped.saturating_add(1);
            let loss = terms.loss();
            tracing::warn!(step = number, norm, loss, "skipped a step");
            if position.skipped_in_a_row >= self.config.most_skipped {
                return Err(OvisImageError::Runtime(RuntimeError::Diverged {
                    step: number,
                    skipped: position.skipped_in_a_row,
                }));
            }
        } else {
            position.skipped_in_a_row = 0;
            // 0 until a step was taken.
            position.mean_norm = if position.mean_norm == 0.0 {
                norm
            } else {
                position.mean_norm + NORM_WEIGHT * (norm - position.mean_norm)
            };
        }
        Ok(StepReport {
            step: number,
            terms,
            grad_norm: norm,
            learning_rate,
            skipped,
        })
    }

    /// Returns the learning rate of the current step.
    fn learning_rate(&self) -> f64 {
        let config = &self.config;
        config
            .learning_rate
            .at(self.position.step, config.total_steps)
    }

    fn is_spike(&self, norm: f64) -> bool {
        let (mean, warm) = (self.position.mean_norm, self.position.step >= NORM_WARM_UP);
        let factor = self.config.spike_factor;
        warm && mean > 0.0 && factor.is_some_and(|factor| norm > factor * mean)
    }

    /// Copies everything needed to resume the run exactly.
    pub fn state(&self) -> TrainingState<A::InnerBackend> {
        let mut parameters = match self.config.master_weights {
            MasterWeights::F32 => ParameterMap::of_module(self.models()),
            MasterWeights::StochasticRounding { .. } => ParameterMap::in_own_dtypes(self.models()),
        };
        for (path, master) in self.masters.iter() {
            parameters.insert(path, master.clone());
        }
        let average = self.average.as_ref();
        TrainingState {
            position: self.position.clone(),
            optimizer_steps: self.optimizer.steps(),
            average_updates: average.map(MovingAverage::updates),
            accumulated_terms: self.accumulated_terms.clone(),
            parameters,
            moments: self.optimizer.moments().clone(),
            average: average.map(|average| average.values().clone()),
            accumulated: self.accumulated.clone(),
        }
    }

    /// Resumes from a state.
    ///
    /// # Errors
    /// Returns [`StateError`] if the state belongs to other models, to another optimizer or to
    /// another accumulation.
    pub fn restore(&mut self, state: TrainingState<A::InnerBackend>) -> Result<()> {
        state.check_against(self.models(), &self.config.optimizer)?;
        let (seen, accumulation) = (state.position.micro_step, self.config.accumulation);
        if seen >= accumulation {
            return Err(StateError::AnotherAccumulation { seen, accumulation }.into());
        }
        let (models, _) = with_values(self.models().clone(), &state.parameters);
        self.masters = match self.config.master_weights {
            MasterWeights::F32 => masters_of(&models, &state.parameters),
            MasterWeights::StochasticRounding { .. } => ParameterMap::new(),
        };
        self.models = Some(models);
        self.optimizer.restore(state.optimizer_steps, state.moments);
        if let (Some(average), Some(values)) = (&mut self.average, state.average) {
            average.restore(state.average_updates.unwrap_or_default(), values);
        }
        self.accumulated = state.accumulated;
        self.accumulated_terms = state.accumulated_terms;
        self.position = state.position;
        Ok(())
    }
}

/// Returns f32 copies of the parameters that the models hold in another dtype.
fn masters_of<B: Backend, M: Module<B>>(models: &M, values: &ParameterMap<B>) -> ParameterMap<B> {
    let mut masters = ParameterMap::new();
    visit_parameters::<B, M, _>(models, |path, parameter| {
        if parameter.values.dtype() == DType::F32 {
            return;
        }
        if let Some(master) = values.get(&path) {
            masters.insert(path, master.clone().cast(DType::F32));
        }
    });
    masters
}

#[cfg(test)]
mod tests;
