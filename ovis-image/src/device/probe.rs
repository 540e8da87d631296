//! Is the device there? Asked before Burn asks, because Burn panics when it is not.

use super::spec::DeviceSpec;
use super::visit::OpenDevice;
#[allow(unused_imports)]
use crate::error::{DeviceError, Result};

#[allow(dead_code)]
fn not_compiled(device: impl ToString, feature: &'static str) -> Result<OpenDevice> {
    Err(DeviceError::NotCompiled {
        device: device.to_string(),
        feature,
    }
    .into())
}

#[allow(dead_code)]
fn unavailable(device: impl ToString, reason: impl Into<String>) -> Result<OpenDevice> {
    Err(DeviceError::Unavailable {
        device: device.to_string(),
        reason: reason.into(),
        source: None,
    }
    .into())
}

#[cfg(feature = "flex")]
pub(super) fn flex() -> Result<OpenDevice> {
    Ok(OpenDevice::Flex(burn_flex::FlexDevice))
}

#[cfg(not(feature = "flex"))]
pub(super) fn flex() -> Result<OpenDevice> {
    not_compiled("flex", "flex")
}

#[cfg(feature = "ndarray")]
pub(super) fn ndarray() -> Result<OpenDevice> {
    Ok(OpenDevice::NdArray(burn_ndarray::NdArrayDevice::Cpu))
}

#[cfg(not(feature = "ndarray"))]
pub(super) fn ndarray() -> Result<OpenDevice> {
    not_compiled("ndarray", "ndarray")
}

#[cfg(feature = "wgpu")]
pub(super) fn wgpu(spec: DeviceSpec) -> Result<OpenDevice> {
    use burn_wgpu::WgpuDevice;
    use wgpu::DeviceType;

    let index = match spec {
        DeviceSpec::Vulkan(_) if !cfg!(feature = "vulkan") => return not_compiled(spec, "vulkan"),
        DeviceSpec::Metal(_) if !cfg!(feature = "metal") => return not_compiled(spec, "metal"),
        DeviceSpec::Wgpu(index) | DeviceSpec::Vulkan(index) | DeviceSpec::Metal(index) => index,
        _ => return not_compiled(spec, "wgpu"),
    };
    // The interface that cubecl picks on this system.
    let backends = match cfg!(target_os = "macos") {
        true => wgpu::Backends::METAL,
        false => wgpu::Backends::VULKAN,
    };
    if matches!(spec, DeviceSpec::Vulkan(_)) && backends != wgpu::Backends::VULKAN
        || matches!(spec, DeviceSpec::Metal(_)) && backends != wgpu::Backends::METAL
    {
        return unavailable(
            spec,
            "this system's graphics interface is another one; use wgpu",
        );
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

    let count = found.len();
    match found.into_iter().nth(index) {
        Some((device, adapter, software)) => Ok(OpenDevice::Wgpu {
            device,
            adapter,
            software,
        }),
        None if count == 0 => {
            unavailable(spec, "no adapter was found: is a Vulkan driver installed?")
        }
        None => unavailable(spec, format!("there are {count} adapters, counted from 0")),
    }
}

#[cfg(not(feature = "wgpu"))]
pub(super) fn wgpu(spec: DeviceSpec) -> Result<OpenDevice> {
    let feature = match spec {
        DeviceSpec::Vulkan(_) => "vulkan",
        DeviceSpec::Metal(_) => "metal",
        _ => "wgpu",
    };
    not_compiled(spec, feature)
}

#[cfg(feature = "cuda")]
pub(super) fn cuda(index: usize) -> Result<OpenDevice> {
    use cudarc::{driver, nvrtc};

    let spec = DeviceSpec::Cuda(index);
    // SAFETY: these load a system library and call nothing in it.
    #[allow(unsafe_code)]
    let (has_driver, has_compiler) = unsafe {
        (
            driver::sys::is_culib_present(),
            nvrtc::sys::is_culib_present(),
        )
    };
    if !has_driver {
        return unavailable(spec, "the NVIDIA driver (libcuda) was not found");
    }
    if !has_compiler {
        return unavailable(
            spec,
            "libnvrtc was not found: install the CUDA runtime compiler or set CUDA_PATH",
        );
    }
    if !cuda_headers_exist() {
        return unavailable(
            spec,
            "the CUDA headers were not found: install the CUDA toolkit's headers and set CUDA_PATH to the folder \
             that holds include/",
        );
    }
    let count = driver::result::init().and_then(|()| driver::result::device::get_count());
    match count {
        Ok(count) if usize::try_from(count).is_ok_and(|count| index < count) => {
            Ok(OpenDevice::Cuda(burn_cuda::CudaDevice::new(index)))
        }
        Ok(count) => unavailable(
            spec,
            format!("there are {count} CUDA devices, counted from 0"),
        ),
        Err(error) => Err(DeviceError::Unavailable {
            device: spec.to_string(),
            reason: "the NVIDIA driver reports an error".to_owned(),
            source: Some(error.into()),
        }
        .into()),
    }
}

/// Whether CubeCL will find the headers that its kernels include: it looks in the same places, and
/// panics where it does not.
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
pub(super) fn cuda(index: usize) -> Result<OpenDevice> {
    not_compiled(DeviceSpec::Cuda(index), "cuda")
}

#[cfg(feature = "rocm")]
pub(super) fn rocm(index: usize) -> Result<OpenDevice> {
    // The kernel's compute interface; without it there is no AMD device to open.
    if cfg!(target_os = "linux") && !std::path::Path::new("/dev/kfd").exists() {
        return unavailable(
            DeviceSpec::Rocm(index),
            "no AMD GPU driver was found (/dev/kfd)",
        );
    }
    Ok(OpenDevice::Rocm(burn_rocm::RocmDevice { index }))
}

#[cfg(not(feature = "rocm"))]
pub(super) fn rocm(index: usize) -> Result<OpenDevice> {
    not_compiled(DeviceSpec::Rocm(index), "rocm")
}
