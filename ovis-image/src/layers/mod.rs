//! Layers with parameters, shared by all models of this crate. They differ from Burn's standard
//! layers in three ways: weights keep the checkpoint's `[out, in]` order, normalizations compute in
//! f32 whatever the dtype, and initialization is lazy, so building a model allocates nothing.
//!
//! Use these types to read and change a model's layers. Beyond that they are not part of the stable
//! interface, because they follow the needs of the models.
//!
//! The names differ from burn-nn's on purpose, because its import adapters transpose by type name.

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

/// Creates a parameter drawn from U(-bound, bound) on first use, unless a checkpoint fills it
/// before.
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

/// Creates a parameter filled with `value` on first use, unless a checkpoint fills it before.
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
