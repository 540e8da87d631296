use std::any::{Any, TypeId};

use burn::tensor::backend::Backend;

/// Properties of a device that Burn's `Backend` trait does not expose. A device of an unknown
/// backend is treated as one with separate memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct BackendInfo {
    /// True if tensors reside in the machine's main memory, so that weights and activations count
    /// against it.
    pub uses_host_memory: bool,
    /// True if memory-mapped files can become tensors without a copy.
    pub computes_in_place: bool,
    /// True if half precision can be many times slower than f32, as LibTorch's is on CPUs without
    /// products in bf16.
    pub prefers_f32: bool,
}

impl BackendInfo {
    /// Looks up the properties of a device of backend `B`.
    pub fn of<B: Backend>(device: &B::Device) -> Self {
        let backend = TypeId::of::<B>();
        let flex = flex().contains(&backend);
        let libtorch_cpu = is_cpu_of_libtorch(device);
        Self {
            uses_host_memory: flex || libtorch_cpu || ndarray().contains(&backend),
            computes_in_place: flex,
            prefers_f32: libtorch_cpu,
        }
    }
}

/// Returns true if this is the CPU through LibTorch, whose devices are all of one type.
#[cfg(feature = "tch")]
fn is_cpu_of_libtorch(device: &dyn Any) -> bool {
    device.downcast_ref() == Some(&burn_tch::LibTorchDevice::Cpu)
}

#[cfg(not(feature = "tch"))]
fn is_cpu_of_libtorch(_device: &dyn Any) -> bool {
    false
}

/// Lists flex, with and without gradients.
fn flex() -> Vec<TypeId> {
    #[cfg(feature = "flex")]
    let types = with_gradients::<burn_flex::Flex>();
    #[cfg(not(feature = "flex"))]
    let types = Vec::new();
    types
}

/// Lists ndarray in both precisions, with and without gradients.
fn ndarray() -> Vec<TypeId> {
    #[cfg(feature = "ndarray")]
    let types = [
        with_gradients::<burn_ndarray::NdArray<f32>>(),
        with_gradients::<burn_ndarray::NdArray<f64>>(),
    ]
    .concat();
    #[cfg(not(feature = "ndarray"))]
    let types = Vec::new();
    types
}

#[cfg(all(feature = "autodiff", any(feature = "flex", feature = "ndarray")))]
fn with_gradients<B: Backend>() -> Vec<TypeId> {
    use burn::backend::Autodiff;
    use burn::backend::autodiff::checkpoint::strategy::{BalancedCheckpointing, NoCheckpointing};

    vec![
        TypeId::of::<B>(),
        TypeId::of::<Autodiff<B, NoCheckpointing>>(),
        TypeId::of::<Autodiff<B, BalancedCheckpointing>>(),
    ]
}

#[cfg(all(not(feature = "autodiff"), any(feature = "flex", feature = "ndarray")))]
fn with_gradients<B: Backend>() -> Vec<TypeId> {
    vec![TypeId::of::<B>()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(feature = "flex")]
    #[test]
    fn flex_computes_in_the_memory_of_the_host_and_in_place() {
        let info = BackendInfo::of::<burn_flex::Flex>(&Default::default());
        assert!(info.uses_host_memory && info.computes_in_place);
    }

    #[cfg(feature = "ndarray")]
    #[test]
    fn ndarray_computes_in_the_memory_of_the_host_but_copies() {
        let info = BackendInfo::of::<burn_ndarray::NdArray<f32>>(&Default::default());
        assert!(info.uses_host_memory && !info.computes_in_place);
    }

    #[cfg(feature = "tch")]
    #[test]
    fn libtorch_computes_in_the_memory_of_the_host_on_cpus_only() {
        use burn_tch::{LibTorch, LibTorchDevice};
        let of = |device| BackendInfo::of::<LibTorch>(&device);
        assert!(of(LibTorchDevice::Cpu).uses_host_memory && of(LibTorchDevice::Cpu).prefers_f32);
        assert!(!of(LibTorchDevice::Mps).uses_host_memory);
    }

    #[cfg(all(feature = "flex", feature = "autodiff"))]
    #[test]
    fn gradients_change_nothing_about_the_memory() {
        use burn::backend::Autodiff;
        use burn_flex::Flex;
        assert_eq!(
            BackendInfo::of::<Autodiff<Flex>>(&Default::default()),
            BackendInfo::of::<Flex>(&Default::default())
        );
    }
}
