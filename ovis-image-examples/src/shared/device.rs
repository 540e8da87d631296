//! Device and precision from the command line.

use clap::Args;
use ovis_image::WeightDtype;
use ovis_image::device::DeviceSpec;

/// The arguments that choose where a model runs, and in which precision.
#[derive(Debug, Clone, Args)]
pub struct DeviceArguments {
    /// Device: auto takes a GPU if this program was built for one, or else the CPU
    ///
    /// Devices: auto, flex, ndarray, wgpu[:N], vulkan[:N], metal[:N], cuda[:N], rocm[:N].
    #[arg(long = "device", value_name = "DEVICE", default_value_t)]
    pub spec: DeviceSpec,
    /// Precision: f32, f16 or bf16 [default: bf16 if the device supports it]
    ///
    /// The default for the embedded model on a CPU is f32.
    #[arg(long)]
    pub dtype: Option<WeightDtype>,
}
