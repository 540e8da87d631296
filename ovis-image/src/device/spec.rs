use std::fmt;
use std::str::FromStr;

use super::probe::{self, GraphicsInterface};
use super::tch_device::TchDevice;
use super::visit::OpenDevice;
use crate::error::{DeviceError, OvisImageError, Result};

/// Device by name: `auto`, `flex`, `ndarray`, `wgpu[:N]`, `vulkan[:N]`, `metal[:N]`, `cuda[:N]`,
/// `rocm[:N]`, `tch`, `tch:cuda[:N]` or `tch:mps`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum DeviceSpec {
    /// First device that is compiled in and present: a GPU through LibTorch, CUDA, ROCm, a GPU
    /// through wgpu, flex, ndarray.
    #[default]
    Auto,
    /// CPU, threaded.
    Flex,
    /// CPU, for deterministic tests.
    NdArray,
    /// Adapter through wgpu, by its position in the list of adapters: discrete GPUs first, software
    /// last.
    Wgpu(usize),
    /// Like [`Wgpu`](Self::Wgpu), with SPIR-V kernels.
    Vulkan(usize),
    /// Like [`Wgpu`](Self::Wgpu) on Apple hardware, with MSL kernels.
    Metal(usize),
    /// NVIDIA GPU.
    Cuda(usize),
    /// AMD GPU.
    Rocm(usize),
    /// Device of LibTorch.
    Tch(TchDevice),
}

impl DeviceSpec {
    /// Checks that the backend is compiled in and the device present, and resolves `auto`.
    ///
    /// # Errors
    /// Returns [`DeviceError::NotCompiled`], [`DeviceError::Unavailable`], or
    /// [`DeviceError::NoSuchIndex`] if there are fewer devices.
    pub fn open(self) -> Result<OpenDevice> {
        let name = self.to_string();
        let opened = match self {
            Self::Auto => return Self::open_best(),
            Self::Flex => probe::flex(),
            Self::NdArray => probe::ndarray(),
            Self::Wgpu(index) => probe::wgpu(name, GraphicsInterface::Any, index),
            Self::Vulkan(index) => probe::wgpu(name, GraphicsInterface::Vulkan, index),
            Self::Metal(index) => probe::wgpu(name, GraphicsInterface::Metal, index),
            Self::Cuda(index) => probe::cuda(name, index),
            Self::Rocm(index) => probe::rocm(name, index),
            Self::Tch(device) => probe::tch(name, device),
        };
        Ok(opened?)
    }

    fn open_best() -> Result<OpenDevice> {
        let candidates = [
            Self::Tch(TchDevice::Cuda(0)),
            Self::Tch(TchDevice::Mps),
            Self::Cuda(0),
            Self::Rocm(0),
            Self::Metal(0),
            Self::Wgpu(0),
            Self::Flex,
            Self::NdArray,
        ];
        let mut last = None;
        for candidate in candidates {
            match candidate.open() {
                // A software adapter is slower than the CPU backends.
                Ok(device) if device.is_software_adapter() => {}
                Ok(device) => return Ok(device),
                Err(error) => last = Some(error),
            }
        }
        Err(
            last.unwrap_or(OvisImageError::Device(DeviceError::NotCompiled {
                device: "auto".into(),
                feature: "flex",
            })),
        )
    }
}

impl fmt::Display for DeviceSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Flex => f.write_str("flex"),
            Self::NdArray => f.write_str("ndarray"),
            Self::Wgpu(index) => write!(f, "wgpu:{index}"),
            Self::Vulkan(index) => write!(f, "vulkan:{index}"),
            Self::Metal(index) => write!(f, "metal:{index}"),
            Self::Cuda(index) => write!(f, "cuda:{index}"),
            Self::Rocm(index) => write!(f, "rocm:{index}"),
            Self::Tch(TchDevice::Cpu) => f.write_str("tch"),
            Self::Tch(TchDevice::Cuda(index)) => write!(f, "tch:cuda:{index}"),
            Self::Tch(TchDevice::Mps) => f.write_str("tch:mps"),
        }
    }
}

impl FromStr for DeviceSpec {
    type Err = OvisImageError;

    fn from_str(text: &str) -> Result<Self> {
        let unknown = || {
            OvisImageError::Device(DeviceError::Unknown {
                name: text.to_owned(),
            })
        };
        if let Some(device) = text.strip_prefix("tch") {
            let device = TchDevice::read(device).ok_or_else(unknown)?;
            return Ok(Self::Tch(device));
        }
        let (name, index) = split(text).ok_or_else(unknown)?;
        let number = index.unwrap_or(0);
        match (name, index) {
            ("auto", None) => Ok(Self::Auto),
            ("flex" | "cpu", None) => Ok(Self::Flex),
            ("ndarray", None) => Ok(Self::NdArray),
            ("wgpu", _) => Ok(Self::Wgpu(number)),
            ("vulkan", _) => Ok(Self::Vulkan(number)),
            ("metal", _) => Ok(Self::Metal(number)),
            ("cuda", _) => Ok(Self::Cuda(number)),
            ("rocm", _) => Ok(Self::Rocm(number)),
            _ => Err(unknown()),
        }
    }
}

impl TchDevice {
    /// Reads what follows `tch`.
    fn read(text: &str) -> Option<Self> {
        if text.is_empty() {
            return Some(Self::Cpu);
        }
        match split(text.strip_prefix(':')?)? {
            ("cpu", None) => Some(Self::Cpu),
            ("cuda", index) => Some(Self::Cuda(index.unwrap_or(0))),
            ("mps", None) => Some(Self::Mps),
            _ => None,
        }
    }
}

/// Splits `NAME` or `NAME:INDEX`; `None` if the index is not a number or too large.
fn split(text: &str) -> Option<(&str, Option<usize>)> {
    match text.split_once(':') {
        Some((name, index)) => Some((name, Some(usize::from(index.parse::<u16>().ok()?)))),
        None => Some((text, None)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_reads_what_it_writes() {
        for text in [
            "auto",
            "flex",
            "ndarray",
            "wgpu:0",
            "vulkan:3",
            "metal:0",
            "cuda:1",
            "rocm:0",
            "tch",
            "tch:cuda:2",
            "tch:mps",
        ] {
            assert_eq!(text.parse::<DeviceSpec>().unwrap().to_string(), text);
        }
        assert_eq!("cuda".parse::<DeviceSpec>().unwrap(), DeviceSpec::Cuda(0));
        assert_eq!(
            "tch:cuda".parse::<DeviceSpec>().unwrap(),
            DeviceSpec::Tch(TchDevice::Cuda(0))
        );
    }

    #[test]
    fn unknown_devices_are_refused_by_name() {
        for text in [
            "",
            "gpu",
            "cuda:",
            "cuda:x",
            "cuda:-1",
            "flex:1",
            "wgpu:99999999999",
            "tch:",
            "tch:wgpu:0",
            "tch:mps:0",
            "tch:cuda:x",
        ] {
            assert!(
                matches!(text.parse::<DeviceSpec>(), Err(OvisImageError::Device(DeviceError::Unknown { name })) if name == text)
            );
        }
    }
}
