use burn::tensor::Tensor;
use burn::tensor::backend::Backend;

use super::{Sampler, SamplerStep, half_log_snr};

/// UniPC of second order with `B(h) = e^h - 1` (arXiv 2302.04867) for flow matching: each
/// prediction first corrects the step that led to it (diffusers: `UniPCMultistepScheduler` with
/// `flow_prediction`, `bh2`). After a step from pure noise, where diffusers gives NaN, this sampler
/// takes the limit of the formulas.
#[derive(Debug, Clone)]
pub struct UniPc<B: Backend> {
    /// Last two predictions of the clean latents, the latest last.
    clean: Vec<Tensor<B, 3>>,
    /// Corrected latents at the start of the previous step.
    last_latents: Option<Tensor<B, 3>>,
    last_order: usize,
}

impl<B: Backend> Default for UniPc<B> {
    fn default() -> Self {
        Self {
            clean: Vec::new(),
            last_latents: None,
            last_order: 0,
        }
    }
}

/// Coefficients of a step in the variable `log((1 - t) / t)`, in which the step's width is `h`.
struct Widths {
    /// Ratio `sigma_next / sigma`.
    shrink: f64,
    /// Weight of the clean latents: `(1 - sigma_next) (1 - e^-h)`.
    towards_clean: f64,
    /// Negative width `-h`.
    exponent: f64,
    /// Width of the previous step divided by the width of this one, negative.
    ratio_before: f64,
}

impl Widths {
    fn new(sigmas: &[f32], index: usize) -> Self {
        let lambda = half_log_snr(sigmas[index]);
        let width = half_log_snr(sigmas[index + 1]) - lambda;
        let before = match index {
            0 => f64::NEG_INFINITY,
            _ => half_log_snr(sigmas[index - 1]),
        };
        let sigma_next = f64::from(sigmas[index + 1]);
        Self {
            shrink: sigma_next / f64::from(sigmas[index]),
            towards_clean: (1.0 - sigma_next) * -(-width).exp_m1(),
            exponent: -width,
            ratio_before: (before - lambda) / width,
        }
    }

    /// Computes the second-order weights of the corrector, for the previous step and the new
    /// prediction.
    fn corrector_weights(&self) -> (f64, f64) {
        let hh = self.exponent;
        let phi_1 = hh.exp_m1();
        let phi_2 = phi_1 / hh - 1.0;
        let phi_3 = phi_2 / hh - 0.5;
        let (b1, b2) = (phi_2 / phi_1, 2.0 * phi_3 / phi_1);
        let before = (b1 - b2) / (1.0 - self.ratio_before);
        (before, b1 - before)
    }
}

impl<B: Backend> UniPc<B> {
    /// Recomputes the latents at the start of this step, now that the model's prediction for them
    /// is known.
    fn corrected(
        &self,
        step: &SamplerStep<'_, B>,
        latents: Tensor<B, 3>,
        clean: &Tensor<B, 3>,
    ) -> Tensor<B, 3> {
        let (Some(last_latents), Some(last_clean)) = (&self.last_latents, self.clean.last()) else {
            return latents;
        };
        let widths = Widths::new(step.sigmas, step.index - 1);
        let change = clean.clone() - last_clean.clone();
        let correction = match self.last_order {
            1 => change * 0.5,
            _ => {
                let (before, now) = widths.corrector_weights();
                let slope = (self.clean[0].clone() - last_clean.clone()) / widths.ratio_before;
                slope * before + change * now
            }
        };
        last_latents.clone() * widths.shrink
            + (last_clean.clone() + correction) * widths.towards_clean
    }
}

impl<B: Backend> Sampler<B> for UniPc<B> {
    fn step(&mut self, step: &mut SamplerStep<'_, B>, latents: Tensor<B, 3>) -> Tensor<B, 3> {
        let clean = step.predicted_clean(&latents);
        let latents = self.corrected(step, latents, &clean);

        if self.clean.len() == 2 {
            self.clean.remove(0);
        }
        self.clean.push(clean.clone());
        let order = if step.is_last() { 1 } else { self.clean.len() };
        let widths = Widths::new(step.sigmas, step.index);
        let target = match order {
            1 => clean,
            _ => {
                let slope = (self.clean[0].clone() - clean.clone()) / widths.ratio_before;
                clean + slope * 0.5
            }
        };
        self.last_latents = Some(latents.clone());
        self.last_order = order;
        latents * widths.shrink + target * widths.towards_clean
    }
}
