//! Probes of devices. They run before Burn opens a device, because Burn panics if the device is
//! missing. Errors name the device by the argument `device`.

use super::tch_device::TchDevice;
use super::visit::OpenDevice;
use crate::error::DeviceError;

type Result<T> = std::result::Result<T, DeviceError>;

/// Graphics interface to request from wgpu.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum GraphicsInterface {
    /// Default interface of the system.
    Any,
    /// Vulkan, with SPIR-V kernels.
    Vulkan,
    /// Metal, with MSL kernels.
    Metal,
}

#[cfg(feature = "flex")]
pub(super) fn flex() -> Result<OpenDevice> {
    Ok(OpenDevice::Flex(burn_flex::FlexDevice))
}

#[cfg(not(feature = "flex"))]
pub(super) fn flex() -> Result<OpenDevice> {
    Err(DeviceError::NotCompiled {
        device: "flex".into(),
        feature: "flex",
    })
}

#[cfg(feature = "ndarray")]
pub(super) fn ndarray() -> Result<OpenDevice> {
    Ok(OpenDevice::NdArray(burn_ndarray::NdArrayDevice::Cpu))
}

#[cfg(not(feature = "ndarray"))]
pub(super) fn ndarray() -> Result<OpenDevice> {
    Err(DeviceError::NotCompiled {
        device: "ndarray".into(),
        feature: "ndarray",
    })
}

#[cfg(feature = "wgpu")]
pub(super) fn wgpu(
    device: String,
    interface: GraphicsInterface,
    index: usize,
) -> Result<OpenDevice> {
    use burn_wgpu::WgpuDevice;
    use wgpu::DeviceType;

    let (feature, compiled) = match interface {
        GraphicsInterface::Any => ("wgpu", true),
        GraphicsInterface::Vulkan => ("vulkan", cfg!(feature = "vulkan")),
        GraphicsInterface::Metal => ("metal", cfg!(feature = "metal")),
    };
    if !compiled {
        return Err(DeviceError::NotCompiled { device, feature });
    }
    // The interface that cubecl picks on this system.
    let (backends, used) = if cfg!(target_os = "macos") {
        (wgpu::Backends::METAL, GraphicsInterface::Metal)
    } else {
        (wgpu::Backends::VULKAN, GraphicsInterface::Vulkan)
    };
    if interface != GraphicsInterface::Any && interface != used {
        return Err(DeviceError::Unavailable {
            device,
            reason: "this system's graphics interface is another one; use wgpu".into(),
            source: None,
        });
    }
    let instance = wgpu::Instance::new(wgpu::InstanceDescriptor {
        backends,
        ..wgpu::InstanceDescriptor::new_without_display_handle()
    });
    let adapters = pollster::block_on(instance.enumerate_adapters(backends));

    // Burn names adapters by kind and position within the kind.
    let mut found: Vec<(WgpuDevice, String, bool)> = Vec::new();
    let mut collect = |kind: DeviceType, name: fn(usize) -> WgpuDevice| {
        let of_kind = adapters
            .iter()
            .map(wgpu::Adapter::get_info)
            .filter(|info| info.device_type == kind);
        for (position, info) in of_kind.enumerate() {
            if kind != DeviceType::Cpu || position == 0 {
                found.push((name(position), info.name, kind == DeviceType::Cpu));
            }
        }
    };
    collect(DeviceType::DiscreteGpu, WgpuDevice::DiscreteGpu);
    collect(DeviceType::IntegratedGpu, WgpuDevice::IntegratedGpu);
    collect(DeviceType::VirtualGpu, WgpuDevice::VirtualGpu);
    collect(DeviceType::Cpu, |_| WgpuDevice::Cpu);

    let index = check_index(
        device,
        index,
        found.len(),
        "no adapter was found: is a Vulkan driver installed?",
    )?;
    let (device, adapter, software) = found.swap_remove(index);
    Ok(OpenDevice::Wgpu {
        device,
        adapter,
        software,
    })
}

#[cfg(not(feature = "wgpu"))]
pub(super) fn wgpu(
    device: String,
    interface: GraphicsInterface,
    _index: usize,
) -> Result<OpenDevice> {
    let feature = match interface {
        GraphicsInterface::Any => "wgpu",
        GraphicsInterface::Vulkan => "vulkan",
        GraphicsInterface::Metal => "metal",
    };
    Err(DeviceError::NotCompiled { device, feature })
}

/// Returns the index if it is less than the number of devices.
#[cfg(any(feature = "wgpu", feature = "cuda", feature = "rocm", feature = "tch"))]
fn check_index(
    device: String,
    index: usize,
    count: usize,
    reason_of_none: &'static str,
) -> Result<usize> {
    match count {
        0 => Err(DeviceError::Unavailable {
            device,
            reason: reason_of_none.into(),
            source: None,
        }),
        _ if index >= count => Err(DeviceError::NoSuchIndex { device, count }),
        _ => Ok(index),
    }
}

#[cfg(feature = "cuda")]
pub(super) fn cuda(device: String, index: usize) -> Result<OpenDevice> {
    use cudarc::{driver, nvrtc};

    let unavailable = |device: String, reason: &str| {
        Err(DeviceError::Unavailable {
            device,
            reason: reason.to_owned(),
            source: None,
        })
    };
    // SAFETY: these load a system library and call nothing in it.
    #[allow(unsafe_code)]
    let (has_driver, has_compiler) = unsafe {
        (
            driver::sys::is_culib_present(),
            nvrtc::sys::is_culib_present(),
        )
    };
    if !has_driver {
        return unavailable(device, "the NVIDIA driver (libcuda) was not found");
    }
    if !has_compiler {
        return unavailable(
            device,
            "libnvrtc was not found: install the CUDA runtime compiler or set CUDA_PATH",
        );
    }
    if !cuda_headers_exist() {
        return unavailable(
            device,
            "the CUDA headers were not found: install the CUDA toolkit's headers and set CUDA_PATH to the folder \
             that holds include/",
        );
    }
    let count = driver::result::init().and_then(|()| driver::result::device::get_count());
    match count {
        Ok(count) => {
            let count = usize::try_from(count).unwrap_or(0);
            let index = check_index(device, index, count, "the NVIDIA driver finds no GPU")?;
            Ok(OpenDevice::Cuda(burn_cuda::CudaDevice::new(index)))
        }
        Err(error) => Err(DeviceError::Unavailable {
            device,
            reason: "the NVIDIA driver reports an error".to_owned(),
            source: Some(error.into()),
        }),
    }
}

/// Returns true if CubeCL will find the headers that its kernels include. CubeCL looks in the same
/// places and panics if the headers are missing.
#[cfg(feature = "cuda")]
fn cuda_headers_exist() -> bool {
    use std::path::{Path, PathBuf};

    let root = match std::env::var_os("CUDA_PATH") {
        Some(path) => PathBuf::from(path),
        None => match ["/usr/local/cuda", "/opt/cuda", "/usr"]
            .iter()
            .map(Path::new)
            .find(|path| {
                path.join("bin/nvcc").exists() || (path.ends_with("cuda") && path.exists())
            }) {
            Some(path) => path.to_owned(),
            None if cfg!(windows) => {
                PathBuf::from("C:/Program Files/NVIDIA GPU Computing Toolkit/CUDA/")
            }
            None => return false,
        },
    };
    root.join("include/cuda_fp16.h").exists()
}

#[cfg(not(feature = "cuda"))]
pub(super) fn cuda(device: String, _index: usize) -> Result<OpenDevice> {
    Err(DeviceError::NotCompiled {
        device,
        feature: "cuda",
    })
}

#[cfg(feature = "rocm")]
pub(super) fn rocm(device: String, index: usize) -> Result<OpenDevice> {
    // Elsewhere the driver has no such list, and Burn is asked untested.
    if cfg!(target_os = "linux") {
        let count = super::kfd::count_gpus(std::path::Path::new(super::kfd::NODES));
        check_index(
            device,
            index,
            count,
            "the AMD GPU driver (amdkfd) is not loaded or finds no GPU",
        )?;
    }
    Ok(OpenDevice::Rocm(burn_rocm::RocmDevice { index }))
}

#[cfg(not(feature = "rocm"))]
pub(super) fn rocm(device: String, _index: usize) -> Result<OpenDevice> {
    Err(DeviceError::NotCompiled {
        device,
        feature: "rocm",
    })
}

#[cfg(feature = "tch")]
pub(super) fn tch(device: String, kind: TchDevice) -> Result<OpenDevice> {
    use burn_tch::LibTorchDevice;

    Ok(OpenDevice::Tch(match kind {
        TchDevice::Cpu => LibTorchDevice::Cpu,
        TchDevice::Cuda(index) => {
            let count = usize::try_from(::tch::Cuda::device_count()).unwrap_or(0);
            let reason = "LibTorch finds no GPU: is it one for CUDA, and is the driver installed?";
            LibTorchDevice::Cuda(check_index(device, index, count, reason)?)
        }
        TchDevice::Mps if ::tch::utils::has_mps() => LibTorchDevice::Mps,
        TchDevice::Mps => {
            return Err(DeviceError::Unavailable {
                device,
                reason: "LibTorch finds no Apple GPU".to_owned(),
                source: None,
            });
        }
    }))
}

#[cfg(not(feature = "tch"))]
pub(super) fn tch(device: String, _kind: TchDevice) -> Result<OpenDevice> {
    Err(DeviceError::NotCompiled {
        device,
        feature: "tch",
    })
}
