//! Pure tensor functions without parameters: the portable implementation of every operation.
//! Operations that lose accuracy in half precision (normalization, rotation, the sinusoid) compute
//! in f32, whatever the input's dtype.
//!
//! [`pack_latents`], [`unpack_latents`] and [`RotaryTable`] are for programs that drive the models
//! themselves. The other functions are not part of the stable interface, because they follow the
//! needs of the models.

mod activation;
mod attention;
mod conv;
mod dynamic_map;
mod gating;
mod linear;
mod norm;
mod optimizer;
mod patchify;
mod quantized_moment;
mod rope;
mod split;
mod stochastic_rounding;
mod timestep;

pub use activation::Activation;
pub use attention::{AttentionMask, attention};
pub use conv::{conv2d, double_size, halving_convolution};
pub use dynamic_map::DynamicMap;
pub use gating::{add_gated, swiglu};
pub use linear::linear;
pub use norm::{group_norm, layer_norm_f32, modulated_norm, rms_norm, rms_norm_f32};
pub use optimizer::{
    AdamW8bitTensors, AdamWStep, AdamWTensors, adamw, adamw_8bit, blend, sum_of_squares,
};
pub use patchify::{pack_latents, unpack_latents};
#[cfg(all(feature = "flex", feature = "autodiff"))]
pub(crate) use quantized_moment::SMALLEST_SCALE;
pub use quantized_moment::{CODES_PER_WORD, MOMENT_BLOCK, QuantizedMoment};
pub use rope::{Pairs, RotaryTable, norm_and_rotate, split_heads};
pub use split::split;
#[cfg(all(feature = "flex", feature = "autodiff"))]
pub(crate) use stochastic_rounding::random_bits;
pub use stochastic_rounding::stochastic_round;
pub use timestep::{round_to_dtype, timestep_embedding};

use burn::tensor::backend::Backend;
use burn::tensor::{DType, Tensor};

/// Clips an f16 tensor to the largest finite f16, as diffusers does with the residual streams;
/// tensors of other dtypes are returned unchanged. NaN stays NaN, so that the check of the result
/// sees it: on GPUs a clamp alone turns it into a bound.
pub(crate) fn clip_f16<B: Backend, const D: usize>(tensor: Tensor<B, D>) -> Tensor<B, D> {
    const F16_MAX: f32 = 65504.0;
    if tensor.dtype() != DType::F16 {
        return tensor;
    }
    let undefined = tensor.clone().is_nan();
    let clipped = tensor.clone().clamp(-F16_MAX, F16_MAX);
    clipped.mask_where(undefined, tensor)
}
