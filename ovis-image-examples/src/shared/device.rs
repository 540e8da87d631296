//! Device and precision from the command line.

use clap::Args;
use ovis_image::WeightDtype;
use ovis_image::device::DeviceSpec;

/// Heading of the common flags.
const COMMON: Option<&str> = None;

/// The arguments that choose where a model runs, and in which precision.
#[derive(Debug, Clone, Args)]
pub struct DeviceArguments {
    /// Device, for example cuda:0
    ///
    /// auto takes a GPU if there is one that this program was built for, or else the CPU. Devices:
    /// auto, flex, ndarray, wgpu, vulkan, metal, cuda, rocm, tch, tch:cuda, tch:mps; :N chooses
    /// among several GPUs.
    #[arg(long = "device", value_name = "DEVICE", default_value_t, help_heading = COMMON)]
    pub spec: DeviceSpec,
    /// Precision: f32, f16 or bf16
    ///
    /// The default is bf16 on flex, cuda and rocm, f16 on wgpu, vulkan and metal, and f32 on
    /// ndarray, tch, on GPUs that support neither, and for the embedded model on a CPU. CPUs without
    /// products in bf16 convert it to f32 on the way, which costs little and halves the memory.
    #[arg(long, help_heading = COMMON)]
    pub dtype: Option<WeightDtype>,
}
