use burn::module::Module;
use burn::tensor::Tensor;
use burn::tensor::backend::Backend;

use super::{VaeDecoder, VaeEncoder};
use crate::config::VaeConfig;

/// Variational autoencoder between pixels and latents.
///
/// [`decode`](Self::decode) takes latents in the transformer's scale. [`encode`](Self::encode)
/// returns latents in the VAE's scale, which [`scale`](Self::scale) converts to the transformer's.
#[derive(Module, Debug)]
pub struct AutoencoderKl<B: Backend> {
    /// Encoder from pixels to latents.
    pub encoder: VaeEncoder<B>,
    /// Decoder from latents to pixels.
    pub decoder: VaeDecoder<B>,
    pub(super) scaling_factor: f64,
    pub(super) shift_factor: f64,
}

/// Normal distribution over latents in the VAE's scale.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct LatentDistribution<B: Backend> {
    /// Mean, `[batch, latent channels, height, width]`.
    pub mean: Tensor<B, 4>,
    /// Logarithm of the variance, clamped to -30..20, in the same shape.
    pub log_variance: Tensor<B, 4>,
}

impl VaeConfig {
    /// Builds the autoencoder with lazy random weights: nothing is allocated before first use.
    ///
    /// # Panics
    /// Panics if the configuration fails [`validate`](Self::validate).
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
    /// Decodes the transformer's latents to pixels: `decoder(z / scaling_factor + shift_factor)`.
    ///
    /// # Shapes
    /// - `latents`: `[batch, latent channels, height, width]`
    /// - output: `[batch, 3, height * scale, width * scale]`, about -1..1, not clamped
    pub fn decode(&self, latents: Tensor<B, 4>) -> Tensor<B, 4> {
        self.decoder
            .forward(latents / self.scaling_factor + self.shift_factor)
    }

    /// Encodes an image to the distribution of its latents, before [`scale`](Self::scale).
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

    /// Converts latents from the VAE's scale to the transformer's: `(z - shift_factor) *
    /// scaling_factor`.
    ///
    /// # Shapes
    /// - `latents` and output: `[batch, latent channels, height, width]`
    pub fn scale(&self, latents: Tensor<B, 4>) -> Tensor<B, 4> {
        (latents - self.shift_factor) * self.scaling_factor
    }
}

impl<B: Backend> LatentDistribution<B> {
    /// Samples latents from the distribution: `mean + exp(log_variance / 2) * noise`.
    ///
    /// # Shapes
    /// - `noise` and output: same as [`mean`](Self::mean)
    pub fn sample(&self, noise: Tensor<B, 4>) -> Tensor<B, 4> {
        self.mean.clone() + (self.log_variance.clone() / 2.0).exp() * noise
    }
}
