use burn::tensor::backend::Backend;
use std::fmt;

/// Device that was found to be present.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum OpenDevice {
    /// The CPU through burn-flex.
    #[cfg(feature = "flex")]
    Flex(burn_flex::FlexDevice),
    /// The CPU through burn-ndarray.
    #[cfg(feature = "ndarray")]
    NdArray(burn_ndarray::NdArrayDevice),
    /// An adapter through wgpu.
    #[cfg(feature = "wgpu")]
    Wgpu {
        /// Device as Burn names it.
        device: burn_wgpu::WgpuDevice,
        /// Name of the adapter, as the driver reports it.
        adapter: String,
        /// True if the adapter computes on the CPU.
        software: bool,
    },
    /// An NVIDIA GPU.
    #[cfg(feature = "cuda")]
    Cuda(burn_cuda::CudaDevice),
    /// An AMD GPU.
    #[cfg(feature = "rocm")]
    Rocm(burn_rocm::RocmDevice),
    /// A device of LibTorch.
    #[cfg(feature = "tch")]
    Tch(burn_tch::LibTorchDevice),
}

/// Code that runs on whichever backend a device needs.
pub trait BackendVisitor {
    /// Result of [`visit`](Self::visit).
    type Output;

    /// Runs on a device of backend `B`.
    fn visit<B: Backend>(self, device: B::Device) -> Self::Output;
}

impl OpenDevice {
    /// Runs generic code on this device's backend.
    #[cfg_attr(
        not(any(
            feature = "flex",
            feature = "ndarray",
            feature = "wgpu",
            feature = "cuda",
            feature = "rocm",
            feature = "tch"
        )),
        allow(unused_variables, reason = "no device can have been opened")
    )]
    pub fn visit<V: BackendVisitor>(self, visitor: V) -> V::Output {
        match self {
            #[cfg(feature = "flex")]
            Self::Flex(device) => visitor.visit::<burn_flex::Flex>(device),
            #[cfg(feature = "ndarray")]
            Self::NdArray(device) => visitor.visit::<burn_ndarray::NdArray<f32>>(device),
            #[cfg(feature = "wgpu")]
            Self::Wgpu { device, .. } => visitor.visit::<burn_wgpu::Wgpu>(device),
            #[cfg(feature = "cuda")]
            Self::Cuda(device) => visitor.visit::<burn_cuda::Cuda>(device),
            #[cfg(feature = "rocm")]
            Self::Rocm(device) => visitor.visit::<burn_rocm::Rocm>(device),
            #[cfg(feature = "tch")]
            Self::Tch(device) => visitor.visit::<burn_tch::LibTorch>(device),
        }
    }

    /// Returns true if this is a software implementation of a GPU interface.
    pub fn is_software_adapter(&self) -> bool {
        match self {
            #[cfg(feature = "wgpu")]
            Self::Wgpu { software, .. } => *software,
            #[allow(unreachable_patterns)]
            _ => false,
        }
    }
}

impl fmt::Display for OpenDevice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            #[cfg(feature = "flex")]
            Self::Flex(_) => f.write_str("flex (CPU)"),
            #[cfg(feature = "ndarray")]
            Self::NdArray(_) => f.write_str("ndarray (CPU)"),
            #[cfg(feature = "wgpu")]
            Self::Wgpu { adapter, .. } => write!(f, "wgpu ({adapter})"),
            #[cfg(feature = "cuda")]
            Self::Cuda(device) => write!(f, "cuda:{}", device.index),
            #[cfg(feature = "rocm")]
            Self::Rocm(device) => write!(f, "rocm:{}", device.index),
            #[cfg(feature = "tch")]
            Self::Tch(burn_tch::LibTorchDevice::Cuda(index)) => {
                write!(f, "LibTorch (cuda:{index})")
            }
            #[cfg(feature = "tch")]
            Self::Tch(burn_tch::LibTorchDevice::Mps) => f.write_str("LibTorch (mps)"),
            #[cfg(feature = "tch")]
            Self::Tch(_) => f.write_str("LibTorch (CPU)"),
            #[allow(unreachable_patterns)]
            _ => f.write_str("none"),
        }
    }
}
