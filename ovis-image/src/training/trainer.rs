use burn::module::Module;
use burn::tensor::DType;
use burn::tensor::backend::{AutodiffBackend, Backend};
use serde::{Deserialize, Serialize};

use super::module_update::{MasterWeights, Update, with_values};
use super::optimizer::{MovingAverage, Optimizer, gradient_norm};
use super::parameter_map::visit_parameters;
use super::state::Position;
use super::{
    LearningRate, LossTerms, Objective, OptimizerConfig, Outcome, ParameterMap, TrainingState,
};
use crate::error::{OvisImageError, Result, RuntimeError, StateError};

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
    /// True if the step was skipped and the parameters did not change, because the loss or norm was
    /// not finite or the norm was a spike.
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
    /// a row; the parameters are those before them.
    pub fn micro_step(&mut self, batch: O::Batch) -> Result<Option<StepReport>> {
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
        let step = self.position.step;
        let learning_rate = self.config.learning_rate.at(step, self.config.total_steps);
        let skipped =
            !norm.norm.is_finite() || !terms.loss().is_finite() || self.is_spike(norm.norm);
        let number = step.saturating_add(1);
        self.position.step = number;
        self.position.micro_step = 0;
        if skipped {
            self.position.skipped_in_a_row = self.position.skipped_in_a_row.saturating_add(1);
            self.position.skipped = self.position.skipped.saturating_add(1);
            tracing::warn!(
                step = number,
                norm = norm.norm,
                loss = terms.loss(),
                "skipped a step"
            );
            if self.position.skipped_in_a_row >= self.config.most_skipped {
                return Err(OvisImageError::Runtime(RuntimeError::Diverged {
                    step: number,
                    skipped: self.position.skipped_in_a_row,
                }));
            }
        } else {
            self.position.skipped_in_a_row = 0;
            // 0 until a step was taken.
            self.position.mean_norm = if self.position.mean_norm == 0.0 {
                norm.norm
            } else {
                self.position.mean_norm + NORM_WEIGHT * (norm.norm - self.position.mean_norm)
            };
            let average = self.average.as_mut();
            let mut update = Update {
                step: self.optimizer.start_step(learning_rate, norm.scale),
                optimizer: &mut self.optimizer,
                master_weights: self.config.master_weights,
                masters: &mut self.masters,
                average_weight: average.map_or(0.0, MovingAverage::start_update),
                average: self.average.as_mut(),
            };
            // Parameters are updated in their own memory if nobody else holds them.
            let models = self.models.take();
            self.models = models.map(|models| update.apply("", models, gradients));
        }
        Ok(StepReport {
            step: number,
            terms,
            grad_norm: norm.norm,
            learning_rate,
            skipped,
        })
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
