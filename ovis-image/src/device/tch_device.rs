/// Device that LibTorch computes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum TchDevice {
    /// CPU, threaded.
    #[default]
    Cpu,
    /// NVIDIA GPU; an AMD one with a LibTorch built for ROCm.
    Cuda(usize),
    /// Apple's GPU.
    Mps,
}
