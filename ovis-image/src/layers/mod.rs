//! Layers with parameters that every model here shares. They differ from Burn's stock layers in
//! three ways: weights keep the checkpoint's `[out, in]` order, normalizations compute in f32
//! whatever the dtype, and initialization is lazy, so building a model allocates nothing.
//!
//! A model's layers can be read and changed through these types. Beyond that they are not part of the
//! stable interface: they follow what the models need.
//!
//! The names differ from burn-nn's on purpose: its import adapters transpose by type name.

mod conv;
mod group_norm;
mod linear;
mod low_rank;
mod rms_norm;
mod streaming;

use burn::tensor::backend::Backend;
pub use conv::ConvLayer;
pub use group_norm::GroupNormLayer;
pub use linear::LinearLayer;
pub use low_rank::LowRankAdapter;
pub use rms_norm::RmsNormLayer;

pub(crate) use streaming::{Streamed, fold_blocks, fold_some_blocks, stream_absent_weights};

use burn::module::{Param, ParamId};
use burn::tensor::{Distribution, Shape, Tensor};

/// A parameter drawn from U(-bound, bound) when first used, unless a checkpoint fills it before.
pub(crate) fn uniform_param<B: Backend, const D: usize>(
    shape: [usize; D],
    bound: f64,
    device: &B::Device,
) -> Param<Tensor<B, D>> {
    Param::uninitialized(
        ParamId::new(),
        move |device: &B::Device, require_grad| {
            Tensor::random(shape, Distribution::Uniform(-bound, bound), device)
                .set_require_grad(require_grad)
        },
        device.clone(),
        true,
        Shape::new(shape),
    )
}

/// A parameter filled with `value` when first used, unless a checkpoint fills it before.
pub(crate) fn constant_param<B: Backend, const D: usize>(
    shape: [usize; D],
    value: f64,
    device: &B::Device,
) -> Param<Tensor<B, D>> {
    Param::uninitialized(
        ParamId::new(),
        move |device: &B::Device, require_grad| {
            Tensor::full(shape, value, device).set_require_grad(require_grad)
        },
        device.clone(),
        true,
        Shape::new(shape),
    )
}
