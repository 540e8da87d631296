use std::collections::BTreeMap;

use burn::tensor::Tensor;
use burn::tensor::backend::Backend;

use super::OptimizerConfig;
use super::adafactor_step::AdafactorStep;
use super::moments::Moments;
use crate::kernels;
use crate::ops::{AdamW8bitTensors, AdamWStep, AdamWTensors};

/// Optimizer with the state of all parameters, by path.
#[derive(Debug, Clone)]
pub(crate) struct Optimizer<B: Backend> {
    config: OptimizerConfig,
    steps: u64,
    moments: BTreeMap<String, Moments<B>>,
}

/// Numbers of one step.
#[derive(Debug, Clone, Copy)]
pub(crate) struct StartedStep {
    learning_rate: f64,
    /// Factor of all gradients.
    gradient_scale: f32,
}

impl<B: Backend> Optimizer<B> {
    /// Starts with moments of zero.
    pub(crate) fn new(config: OptimizerConfig) -> Self {
        Self {
            config,
            steps: 0,
            moments: BTreeMap::new(),
        }
    }

    /// Returns the number of steps that were started.
    pub(crate) fn steps(&self) -> u64 {
        self.steps
    }

    /// Returns the state of each parameter that was updated.
    pub(crate) fn moments(&self) -> &BTreeMap<String, Moments<B>> {
        &self.moments
    }

    /// Resumes after a number of steps, with the state after them.
    pub(crate) fn restore(&mut self, steps: u64, moments: BTreeMap<String, Moments<B>>) {
        self.steps = steps;
        self.moments = moments;
    }

    /// Starts a step, in which every parameter is updated once; `gradient_scale` multiplies all
    /// gradients.
    pub(crate) fn start_step(&mut self, learning_rate: f64, gradient_scale: f32) -> StartedStep {
        self.steps += 1;
        StartedStep {
            learning_rate,
            gradient_scale,
        }
    }

    /// Updates one parameter, given flat. The number of axes of its `shape` decides whether it
    /// decays.
    pub(crate) fn update(
        &mut self,
        path: &str,
        shape: &[usize],
        parameter: Tensor<B, 1>,
        gradient: Tensor<B, 1>,
        step: &StartedStep,
    ) -> Tensor<B, 1> {
        let zeros = || Moments::zeros(&self.config, shape, &parameter.device());
        let moments = self.moments.remove(path).unwrap_or_else(zeros);
        let (parameter, moments) = match &self.config {
            OptimizerConfig::AdamW(config) | OptimizerConfig::AdamW8bit(config) => {
                let decays = shape.len() > 1;
                let rate = step.learning_rate;
                let step = config.step(self.steps, rate, step.gradient_scale, decays);
                adamw(parameter, moments, gradient, step)
            }
            OptimizerConfig::Adafactor(config) => {
                let step = AdafactorStep {
                    learning_rate: step.learning_rate,
                    gradient_scale: step.gradient_scale,
                    number: self.steps,
                };
                config.update(shape, parameter, moments, gradient, &step)
            }
        };
        self.moments.insert(path.to_owned(), moments);
        parameter
    }
}

fn adamw<B: Backend>(
    parameter: Tensor<B, 1>,
    moments: Moments<B>,
    gradient: Tensor<B, 1>,
    step: AdamWStep,
) -> (Tensor<B, 1>, Moments<B>) {
    match moments {
        Moments::Full { first, second } => {
            let tensors = AdamWTensors {
                parameter,
                first_moment: first,
                second_moment: second,
            };
            let updated = kernels::adamw(tensors, gradient, step);
            let moments = Moments::Full {
                first: updated.first_moment,
                second: updated.second_moment,
            };
            (updated.parameter, moments)
        }
        Moments::Quantized { first, second } => {
            let tensors = AdamW8bitTensors {
                parameter,
                first_moment: first,
                second_moment: second,
            };
            let updated = kernels::adamw_8bit(tensors, gradient, step);
            let moments = Moments::Quantized {
                first: updated.first_moment,
                second: updated.second_moment,
            };
            (updated.parameter, moments)
        }
        Moments::Factored { .. } | Moments::Squares(_) => {
            unreachable!("a state of another optimizer is refused when it is restored")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{TestBackend, tensor, values};
    use crate::training::AdamWConfig;

    /// Computes ten steps of AdamW in f64, as written in torch's documentation.
    fn expected(decay: f64) -> f64 {
        let (mut p, mut m, mut v) = (0.5f64, 0.0, 0.0);
        for step in 1..=10 {
            let g = 0.3 * f64::from(step) - p;
            p *= 1.0 - 1e-2 * decay;
            m = 0.9 * m + 0.1 * g;
            v = 0.95 * v + 0.05 * g * g;
            let (m, v) = (
                m / (1.0 - 0.9f64.powi(step)),
                v / (1.0 - 0.95f64.powi(step)),
            );
            p -= 1e-2 * m / (v.sqrt() + 1e-8);
        }
        p
    }

    #[test]
    fn ten_steps_follow_the_formula_and_only_matrices_decay() {
        for (shape, decay) in [(&[1][..], 0.0), (&[1, 1], 0.1)] {
            let config = AdamWConfig {
                weight_decay: 0.1,
                ..AdamWConfig::default()
            };
            let mut optimizer = Optimizer::<TestBackend>::new(OptimizerConfig::AdamW(config));
            let mut parameter: Tensor<TestBackend, 1> = tensor([1], [0.5]);
            for step in 1..=10 {
                let gradient = -parameter.clone() + 0.3 * step as f32;
                let started = optimizer.start_step(1e-2, 1.0);
                parameter = optimizer.update("p", shape, parameter, gradient, &started);
            }
            let error = f64::from(values(parameter)[0]) - expected(decay);
            assert!(error.abs() < 1e-6, "{error:e}");
        }
    }
}
