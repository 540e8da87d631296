use burn::tensor::backend::Backend;

use crate::kernels::BackendInfo;

/// Whose memory a device computes in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DeviceMemory {
    /// The machine's main memory, as CPU backends do: what is on the device and what is on the host
    /// share it.
    Host,
    /// Memory of its own, as a GPU with its driver has it.
    Separate,
}

impl DeviceMemory {
    /// The memory that a device of backend `B` computes in.
    pub fn of<B: Backend>(device: &B::Device) -> Self {
        if BackendInfo::of::<B>(device).uses_host_memory {
            Self::Host
        } else {
            Self::Separate
        }
    }
}
