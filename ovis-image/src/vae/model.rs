use burn::module::Module;
use burn::tensor::Tensor;
use burn::tensor::backend::Backend;

use super::{VaeDecoder, VaeEncoder};
use crate::config::VaeConfig;

/// The autoencoder. [`decode`](Self::decode) takes the transformer's latents, scaled and shifted;
/// [`encode`](Self::encode) gives the VAE's own, which [`scale`](Self::scale) turns into those.
#[derive(Module, Debug)]
pub struct AutoencoderKl<B: Backend> {
    /// Pixels to latents.
    pub encoder: VaeEncoder<B>,
    /// Latents to pixels.
    pub decoder: VaeDecoder<B>,
    pub(super) scaling_factor: f64,
    pub(super) shift_factor: f64,
}

/// A normal distribution over latents, before scaling.
#[derive(Debug, Clone)]
pub struct LatentDistribution<B: Backend> {
    /// `[batch, latent channels, height, width]`.
    pub mean: Tensor<B, 4>,
    /// Logarithm of the variance, clamped to -30..20, same shape.
    pub log_variance: Tensor<B, 4>,
}

impl VaeConfig {
    /// Builds the autoencoder with lazy random weights: nothing is allocated before first use.
    ///
    /// # Panics
    /// On a configuration that [`validate`](Self::validate) refuses.
    pub fn init<B: Backend>(&self, device: &B::Device) -> AutoencoderKl<B> {
        AutoencoderKl {
            encoder: VaeEncoder::new(self, device),
            decoder: VaeDecoder::new(self, device),
            scaling_factor: self.scaling_factor,
            shift_factor: self.shift(),
        }
    }
}

impl<B: Backend> AutoencoderKl<B> {
    /// Pixels from the transformer's latents: `decoder(z / scaling_factor + shift_factor)`.
    ///
    /// # Shapes
    /// - `latents`: `[batch, latent channels, height, width]`
    /// - output: `[batch, 3, height * scale, width * scale]`, about -1..1, not clamped
    pub fn decode(&self, latents: Tensor<B, 4>) -> Tensor<B, 4> {
        self.decoder
            .forward(latents / self.scaling_factor + self.shift_factor)
    }

    /// The distribution of the latents of an image, before [`scale`](Self::scale).
    ///
    /// # Shapes
    /// - `pixels`: `[batch, 3, height, width]` in -1..1, sides multiples of the scale factor
    pub fn encode(&self, pixels: Tensor<B, 4>) -> LatentDistribution<B> {
        let moments = self.encoder.forward(pixels);
        let channels = moments.dims()[1] / 2;
        LatentDistribution {
            mean: moments.clone().narrow(1, 0, channels),
            log_variance: moments.narrow(1, channels, channels).clamp(-30.0, 20.0),
        }
    }

    /// Raw latents to the transformer's: `(z - shift_factor) * scaling_factor`.
    ///
    /// # Shapes
    /// - `latents` and output: `[batch, latent channels, height, width]`
    pub fn scale(&self, latents: Tensor<B, 4>) -> Tensor<B, 4> {
        (latents - self.shift_factor) * self.scaling_factor
    }
}

impl<B: Backend> LatentDistribution<B> {
    /// `mean + exp(log_variance / 2) * noise`.
    ///
    /// # Shapes
    /// - `noise` and output: as [`mean`](Self::mean)
    pub fn sample(&self, noise: Tensor<B, 4>) -> Tensor<B, 4> {
        self.mean.clone() + (self.log_variance.clone() / 2.0).exp() * noise
    }
}
