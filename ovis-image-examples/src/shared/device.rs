//! Device and precision from the command line.

use clap::Args;
use ovis_image::WeightDtype;
use ovis_image::device::DeviceSpec;

/// The arguments that choose where a model runs, and in which precision.
#[derive(Debug, Clone, Args)]
pub struct DeviceArguments {
    /// Device, for example cuda:0
    ///
    /// auto takes a GPU if there is one that this program was built for, or else the CPU. Devices: auto, flex, ndarray, wgpu[:N], vulkan[:N], metal[:N], cuda[:N], rocm[:N].
    #[arg(long = "device", value_name = "DEVICE", default_value_t)]
    pub spec: DeviceSpec,
    /// Precision: f32, f16 or bf16
    ///
    /// The default is bf16 if the device supports it, or else f16 or f32; f32 for the embedded model
    /// on a CPU.
    #[arg(long)]
    pub dtype: Option<WeightDtype>,
}
