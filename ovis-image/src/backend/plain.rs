//! Backends that run the default bodies.

#[cfg(any(
    feature = "ndarray",
    feature = "wgpu",
    feature = "cuda",
    feature = "rocm",
    feature = "autodiff"
))]
use super::OvisOps;

#[cfg(feature = "ndarray")]
impl OvisOps for burn_ndarray::NdArray<f32> {}
#[cfg(feature = "ndarray")]
impl OvisOps for burn_ndarray::NdArray<f64> {}

#[cfg(feature = "wgpu")]
impl<F, I, BT> OvisOps for burn_wgpu::Wgpu<F, I, BT>
where
    F: burn_wgpu::FloatElement,
    I: burn_wgpu::IntElement,
    BT: burn_wgpu::BoolElement,
{
}

#[cfg(feature = "cuda")]
impl OvisOps for burn_cuda::Cuda<f32> {}
#[cfg(feature = "cuda")]
impl OvisOps for burn_cuda::Cuda<half::f16> {}
#[cfg(feature = "cuda")]
impl OvisOps for burn_cuda::Cuda<half::bf16> {}

#[cfg(feature = "rocm")]
impl OvisOps for burn_rocm::Rocm<f32> {}
#[cfg(feature = "rocm")]
impl OvisOps for burn_rocm::Rocm<half::f16> {}
#[cfg(feature = "rocm")]
impl OvisOps for burn_rocm::Rocm<half::bf16> {}

/// Gradients need operations that Burn can differentiate, so the inner backend's own are not used.
#[cfg(feature = "autodiff")]
impl<B, C> OvisOps for burn::backend::Autodiff<B, C>
where
    B: burn::tensor::backend::Backend,
    C: burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy,
{
}
