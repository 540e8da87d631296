use burn::tensor::Tensor;
use burn::tensor::backend::Backend;

use crate::kernels;
use crate::training::ParameterMap;

/// Moving average of parameters in f32 (diffusers: `EMAModel`). Its decay grows from 0 with the
/// number of updates, `(1 + n) / (10 + n)`, up to the configured decay.
#[derive(Debug, Clone)]
pub(crate) struct MovingAverage<B: Backend> {
    decay: f64,
    updates: u64,
    values: ParameterMap<B>,
}

impl<B: Backend> MovingAverage<B> {
    /// Creates an average that starts with the first parameters that it receives.
    pub(crate) fn new(decay: f64) -> Self {
        Self {
            decay,
            updates: 0,
            values: ParameterMap::new(),
        }
    }

    /// Returns the number of updates.
    pub(crate) fn updates(&self) -> u64 {
        self.updates
    }

    /// Returns the averages, which are empty before the first update.
    pub(crate) fn values(&self) -> &ParameterMap<B> {
        &self.values
    }

    /// Resumes after a number of updates, with the averages after them.
    pub(crate) fn restore(&mut self, updates: u64, values: ParameterMap<B>) {
        self.updates = updates;
        self.values = values;
    }

    /// Starts an update, which sees every parameter once.
    pub(crate) fn start_update(&mut self) -> f32 {
        self.updates += 1;
        let n = self.updates.saturating_sub(1) as f64;
        let decay = if n == 0.0 {
            0.0
        } else {
            ((1.0 + n) / (10.0 + n)).min(self.decay)
        };
        (1.0 - decay) as f32
    }

    /// Moves the average of one parameter towards its value.
    pub(crate) fn update(&mut self, path: &str, value: Tensor<B, 1>, weight: f32) {
        let average = match self.values.remove(path) {
            Some(average) => kernels::blend(average, value, weight),
            // The parameter goes on changing in its own memory.
            None => value * 1.0,
        };
        self.values.insert(path, average);
    }
}
