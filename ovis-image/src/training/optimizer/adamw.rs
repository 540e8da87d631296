use burn::tensor::Tensor;
use burn::tensor::backend::Backend;
use serde::{Deserialize, Serialize};

use crate::kernels;
use crate::ops::{AdamWStep, AdamWTensors};
use crate::training::ParameterMap;

/// Constants of AdamW.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AdamWConfig {
    /// Decays of the two moments.
    pub betas: [f64; 2],
    /// Term added to the denominator.
    pub eps: f64,
    /// Decoupled weight decay of matrices and kernels. Biases and scales of norms, which have one
    /// axis, do not decay.
    pub weight_decay: f64,
}

impl Default for AdamWConfig {
    fn default() -> Self {
        Self {
            betas: [0.9, 0.95],
            eps: 1e-8,
            weight_decay: 0.01,
        }
    }
}

/// AdamW (arXiv 1711.05101; torch: `AdamW`) with moments in f32.
#[derive(Debug, Clone)]
pub(crate) struct AdamW<B: Backend> {
    config: AdamWConfig,
    steps: u64,
    first_moments: ParameterMap<B>,
    second_moments: ParameterMap<B>,
}

impl<B: Backend> AdamW<B> {
    /// Starts with moments of zero.
    pub(crate) fn new(config: AdamWConfig) -> Self {
        Self {
            config,
            steps: 0,
            first_moments: ParameterMap::new(),
            second_moments: ParameterMap::new(),
        }
    }

    /// Returns the number of steps that were started.
    pub(crate) fn steps(&self) -> u64 {
        self.steps
    }

    /// Returns the first and the second moments.
    pub(crate) fn moments(&self) -> [&ParameterMap<B>; 2] {
        [&self.first_moments, &self.second_moments]
    }

    /// Resumes after a number of steps, with the first and the second moments after them.
    pub(crate) fn restore(&mut self, steps: u64, [first, second]: [ParameterMap<B>; 2]) {
        self.steps = steps;
        self.first_moments = first;
        self.second_moments = second;
    }

    /// Starts a step, in which every parameter is updated once; `gradient_scale` multiplies all
    /// gradients.
    pub(crate) fn start_step(&mut self, learning_rate: f64, gradient_scale: f32) -> StartedStep {
        self.steps += 1;
        let [beta1, beta2] = self.config.betas;
        let steps = i32::try_from(self.steps).unwrap_or(i32::MAX);
        let first_correction = 1.0 - beta1.powi(steps);
        let second_correction = 1.0 - beta2.powi(steps);
        let step = AdamWStep {
            gradient_scale,
            decay: 1.0,
            beta1: beta1 as f32,
            beta2: beta2 as f32,
            eps: self.config.eps as f32,
            step_size: (learning_rate / first_correction) as f32,
            second_correction: second_correction.sqrt() as f32,
        };
        StartedStep {
            plain: step,
            decayed: AdamWStep {
                decay: (1.0 - learning_rate * self.config.weight_decay) as f32,
                ..step
            },
        }
    }

    /// Updates one parameter. The number of `axes` of its tensor decides whether it decays.
    pub(crate) fn update(
        &mut self,
        path: &str,
        axes: usize,
        parameter: Tensor<B, 1>,
        gradient: Tensor<B, 1>,
        step: &StartedStep,
    ) -> Tensor<B, 1> {
        let zeros = || Tensor::zeros(parameter.dims(), &parameter.device());
        let first_moment = self.first_moments.remove(path).unwrap_or_else(zeros);
        let second_moment = self.second_moments.remove(path).unwrap_or_else(zeros);
        let tensors = AdamWTensors {
            parameter,
            first_moment,
            second_moment,
        };
        let step = if axes > 1 { step.decayed } else { step.plain };
        let updated = kernels::adamw(tensors, gradient, step);
        self.first_moments.insert(path, updated.first_moment);
        self.second_moments.insert(path, updated.second_moment);
        updated.parameter
    }
}

/// Constants of one step, with and without weight decay.
#[derive(Debug, Clone, Copy)]
pub(crate) struct StartedStep {
    plain: AdamWStep,
    decayed: AdamWStep,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{TestBackend, tensor, values};

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
        for (axes, decay) in [(1, 0.0), (2, 0.1)] {
            let config = AdamWConfig {
                weight_decay: 0.1,
                ..AdamWConfig::default()
            };
            let mut optimizer = AdamW::<TestBackend>::new(config);
            let mut parameter: Tensor<TestBackend, 1> = tensor([1], [0.5]);
            for step in 1..=10 {
                let gradient = -parameter.clone() + 0.3 * step as f32;
                let started = optimizer.start_step(1e-2, 1.0);
                parameter = optimizer.update("p", axes, parameter, gradient, &started);
            }
            let error = f64::from(values(parameter)[0]) - expected(decay);
            assert!(error.abs() < 1e-6, "{error:e}");
        }
    }
}
