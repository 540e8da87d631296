use burn::tensor::backend::{AutodiffBackend, Backend};
use burn::tensor::{DType, Tensor};
use serde::{Deserialize, Serialize};

use super::module_update::{Trained, lift_some};
use super::{LossTerms, Objective, Outcome, ParameterMap};
use crate::error::{OvisImageError, Result};
use crate::vae::AutoencoderKl;

/// A batch of images for an autoencoder, in f32.
#[derive(Debug, Clone)]
pub struct PixelBatch<B: Backend> {
    /// Pixels in -1..1, `[batch, 3, height, width]`.
    pub pixels: Tensor<B, 4>,
    /// Noise of the latents, `[batch, latent channels, height / scale, width / scale]`.
    pub noise: Tensor<B, 4>,
}

/// Measure of the difference between decoded and given pixels.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum PixelError {
    /// Mean of absolute differences. Keeps edges sharp in a model that already draws shapes.
    #[default]
    Absolute,
    /// Mean of squared differences. A model that starts from nothing learns shapes far sooner: with
    /// absolute differences it draws flat grounds for thousands of steps.
    Squared,
}

impl PixelError {
    fn mean<B: Backend, const D: usize>(self, difference: Tensor<B, D>) -> Tensor<B, 1> {
        match self {
            Self::Absolute => difference.abs().mean(),
            Self::Squared => difference.square().mean(),
        }
    }
}

/// Measure and weights of an autoencoder's losses.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AutoencodingConfig {
    /// Measure of the errors of pixels and edges.
    pub pixel_error: PixelError,
    /// Weight of the mean error of differences between neighboring pixels, at the image's size,
    /// half and a quarter of it. It keeps edges sharp, which strokes of letters need.
    pub edge_weight: f64,
    /// Weight of the divergence of the latents from a standard normal distribution (arXiv
    /// 1312.6114), per latent value.
    pub kl_weight: f64,
    /// True to train the encoder, too; false to train only the decoder, so that a transformer that
    /// was trained on the latents stays valid.
    pub train_encoder: bool,
}

impl Default for AutoencodingConfig {
    fn default() -> Self {
        Self {
            pixel_error: PixelError::Absolute,
            edge_weight: 1.0,
            kl_weight: 1e-4,
            train_encoder: true,
        }
    }
}

/// Autoencoding objective: encodes an image, samples latents with noise, decodes them, and compares
/// the result with the image.
#[derive(Debug, Clone)]
pub struct Autoencoding {
    config: AutoencodingConfig,
}

impl Autoencoding {
    /// Creates the objective.
    pub fn new(config: AutoencodingConfig) -> Self {
        Self { config }
    }

    /// Computes the total loss and its parts, `[1]` each.
    fn losses<B: Backend>(
        &self,
        model: &AutoencoderKl<B>,
        pixels: Tensor<B, 4>,
        noise: Tensor<B, 4>,
    ) -> [Tensor<B, 1>; 4] {
        let dtype = model.decoder.conv_in.weight.val().dtype();
        let latents = model.encode(pixels.clone().cast(dtype));
        let (mean, log_variance) = (
            latents.mean.clone().cast(DType::F32),
            latents.log_variance.clone().cast(DType::F32),
        );
        let sampled = latents.sample(noise.cast(dtype));
        let decoded = model.decode(model.scale(sampled)).cast(DType::F32);
        let error = decoded - pixels;
        let pixel_error = self.config.pixel_error;
        let pixel = pixel_error.mean(error.clone());
        let edges = edges(error, pixel_error);
        let divergence =
            (mean.clone() * mean + log_variance.clone().exp() - 1.0 - log_variance).mean() * 0.5;
        let total = pixel.clone()
            + edges.clone() * self.config.edge_weight
            + divergence.clone() * self.config.kl_weight;
        [total, pixel, edges, divergence]
    }
}

/// Names of the losses, in the order of [`Autoencoding::losses`].
const NAMES: [&str; 4] = [LossTerms::LOSS, "pixels", "edges", "divergence"];

/// Computes the mean differences of neighbors at three sizes.
fn edges<B: Backend>(error: Tensor<B, 4>, pixel_error: PixelError) -> Tensor<B, 1> {
    let mut level = error;
    let mut total = Tensor::zeros([1], (&level.device(), DType::F32));
    for size in 0..3 {
        if size > 0 {
            level = halved(level);
        }
        for axis in [2, 3] {
            let length = level.dims()[axis];
            if length < 2 {
                continue;
            }
            let next = level.clone().narrow(axis, 1, length - 1);
            let this = level.clone().narrow(axis, 0, length - 1);
            total = total + pixel_error.mean(next - this);
        }
    }
    total
}

/// Computes the means of blocks of 2x2. An odd last row or column is left out.
fn halved<B: Backend>(image: Tensor<B, 4>) -> Tensor<B, 4> {
    let [batch, channels, height, width] = image.dims();
    let (rows, columns) = (height / 2, width / 2);
    image
        .narrow(2, 0, 2 * rows)
        .narrow(3, 0, 2 * columns)
        .reshape([batch, channels, rows, 2, columns, 2])
        .mean_dim(5)
        .mean_dim(3)
        .reshape([batch, channels, rows, columns])
}

fn check<B: Backend>(batch: &PixelBatch<B>, model: &AutoencoderKl<B>) -> Result<()> {
    let config = model.config();
    let (scale, channels) = (config.scale_factor(), config.latent_channels);
    let pixels @ [images, colors, height, width] = batch.pixels.dims();
    let whole = |size: usize| size > 0 && size.is_multiple_of(scale);
    if images == 0 || colors != config.in_channels || !whole(height) || !whole(width) {
        return Err(OvisImageError::argument(
            "batch.pixels",
            format!(
                "{pixels:?}: three colors, and sides that are multiples of {scale}, are needed"
            ),
        ));
    }
    let (wanted, noise) = (
        [images, channels, height / scale, width / scale],
        batch.noise.dims(),
    );
    if noise != wanted {
        return Err(OvisImageError::argument(
            "batch.noise",
            format!("its shape is {noise:?}, that of the latents {wanted:?}"),
        ));
    }
    Ok(())
}

fn read<B: Backend>(losses: [Tensor<B, 1>; 4]) -> LossTerms {
    let values = Tensor::cat(losses.to_vec(), 0).into_data();
    LossTerms::new(NAMES.into_iter().zip(values.iter::<f64>()))
}

impl<A: AutodiffBackend> Objective<A> for Autoencoding {
    type Models = AutoencoderKl<A::InnerBackend>;
    type Batch = PixelBatch<A::InnerBackend>;

    fn gradients(
        &self,
        models: &Self::Models,
        batch: Self::Batch,
    ) -> Result<Outcome<A::InnerBackend>> {
        check(&batch, models)?;
        let trained = if self.config.train_encoder {
            Trained::All
        } else {
            Trained::Inside("decoder")
        };
        let model = lift_some::<A, AutoencoderKl<A>>(models.clone(), trained);
        let pixels = Tensor::from_inner(batch.pixels);
        let losses = self.losses(&model, pixels, Tensor::from_inner(batch.noise));
        let gradients = losses[0].backward();
        Ok(Outcome {
            terms: read(losses.map(Tensor::inner)),
            gradients: ParameterMap::of_gradients::<A, _>(&model, &gradients, ""),
        })
    }

    fn loss(&self, models: &Self::Models, batch: Self::Batch) -> Result<LossTerms> {
        check(&batch, models)?;
        Ok(read(self.losses(models, batch.pixels, batch.noise)))
    }
}
