//! Device and precision from the command line.

use clap::Args;
use ovis_image::WeightDtype;
use ovis_image::device::DeviceSpec;

/// The arguments that choose where a model runs, and in which precision.
#[derive(Debug, Clone, Args)]
pub struct DeviceArguments {
    /// `auto`, `flex`, `ndarray`, `wgpu[:N]`, `vulkan[:N]`, `metal[:N]`, `cuda[:N]` or `rocm[:N]`
    #[arg(long = "device", value_name = "DEVICE", default_value_t)]
    pub spec: DeviceSpec,
    /// Precision: f32, f16 or bf16 [default: bf16 on flex, cuda and rocm, f16 on wgpu, vulkan and
    /// metal, f32 on ndarray, on GPUs that support neither, and for the embedded model on a CPU]
    #[arg(long)]
    pub dtype: Option<WeightDtype>,
}
