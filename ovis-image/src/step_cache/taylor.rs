use burn::tensor::backend::Backend;
use burn::tensor::{DType, Tensor};

use super::{CachedPrediction, StepCache};
use crate::sampling::StepPosition;
use crate::transformer::StagedForward;

/// Taylor cache: runs the transformer at every n-th step and forecasts the predictions in between
/// with a Taylor polynomial of divided differences (TaylorSeer, arXiv 2503.06923; diffusers:
/// `apply_taylorseer_cache` with `use_lite_mode`). A forecast step runs no part of the transformer.
#[derive(Debug, Clone)]
pub struct TaylorCache<B: Backend> {
    interval: usize,
    order: usize,
    warmup: usize,
    /// Number of predictions made so far.
    made: usize,
    last_computed: usize,
    /// Derivatives of the prediction with respect to the step, the lowest order first, in f32.
    factors: Vec<Tensor<B, 3>>,
}

impl<B: Backend> TaylorCache<B> {
    /// Creates a cache that computes the first `warmup` predictions and then every `interval`-th,
    /// and forecasts the others with derivatives up to `order`.
    pub fn new(interval: usize, order: usize, warmup: usize) -> Self {
        Self {
            interval: interval.max(1),
            order,
            warmup,
            made: 0,
            last_computed: 0,
            factors: Vec::new(),
        }
    }

    fn is_computed_at(&self, index: usize) -> bool {
        // As in diffusers, the first prediction after the warm-up is a forecast.
        index < self.warmup
            || self.factors.is_empty()
            || (index as i64 - self.warmup as i64 - 1).rem_euclid(self.interval as i64) == 0
    }

    fn update(&mut self, prediction: Tensor<B, 3>, index: usize) {
        let steps = (index - self.last_computed).max(1) as f64;
        let known = std::mem::take(&mut self.factors);
        self.factors.push(prediction);
        for before in known.into_iter().take(self.order) {
            if let Some(lower) = self.factors.last() {
                let derivative = (lower.clone() - before) / steps;
                self.factors.push(derivative);
            }
        }
        self.last_computed = index;
    }

    /// Forecasts the prediction at a step; `None` before the first update.
    fn forecast(&self, index: usize) -> Option<Tensor<B, 3>> {
        let ahead = (index - self.last_computed) as f64;
        let mut terms = self.factors.iter().enumerate();
        let (_, first) = terms.next()?;
        let mut weight = 1.0;
        Some(terms.fold(first.clone(), |sum, (order, factor)| {
            weight *= ahead / order as f64;
            sum + factor.clone() * weight
        }))
    }
}

impl<B: Backend> StepCache<B> for TaylorCache<B> {
    fn predict(
        &mut self,
        forward: StagedForward<'_, B>,
        _step: StepPosition,
    ) -> CachedPrediction<B> {
        let index = self.made;
        self.made += 1;
        if !self.is_computed_at(index)
            && let Some(forecast) = self.forecast(index)
        {
            return CachedPrediction::reused(forecast);
        }
        let prediction = forward.run();
        self.update(prediction.clone().cast(DType::F32), index);
        CachedPrediction::computed(prediction)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{TestBackend, assert_close, random};

    #[test]
    fn a_polynomial_of_its_order_is_forecast_exactly() {
        let [constant, slope] = [1, 2].map(|seed| random::<TestBackend, 3>(seed, [1, 2, 3]));
        let at = |index: usize| constant.clone() + slope.clone() * index as f32;
        let mut cache = TaylorCache::new(3, 1, 0);
        assert!(cache.forecast(0).is_none());
        for index in [1, 4] {
            cache.update(at(index), index);
        }
        for index in 5..8 {
            assert_close(cache.forecast(index).unwrap(), at(index), 1e-5);
        }
    }

    #[test]
    fn without_derivatives_the_last_prediction_is_the_forecast() {
        let mut cache = TaylorCache::new(3, 0, 0);
        for index in [1, 4] {
            cache.update(random::<TestBackend, 3>(index as u64, [1, 2, 3]), index);
        }
        assert_close(cache.forecast(6).unwrap(), random(4, [1, 2, 3]), 0.0);
    }

    #[test]
    fn the_first_steps_and_then_every_nth_are_computed() {
        let mut cache = TaylorCache::<TestBackend>::new(3, 1, 2);
        cache.update(random(1, [1, 1, 1]), 0);
        let computed: Vec<usize> = (0..10)
            .filter(|index| cache.is_computed_at(*index))
            .collect();
        assert_eq!(computed, [0, 1, 3, 6, 9]);
    }
}
