//! Runs one program on every backend: the embedded model on each that is compiled in and present,
//! compared with the first.

#![allow(clippy::print_stdout, reason = "a program that talks to its user")]

use burn::tensor::backend::Backend;
use ovis_image::device::{BackendVisitor, DeviceSpec, TchDevice};
use ovis_image::{GenerationRequest, LoadOptions, OvisImagePipeline};
use ovis_image_examples::shared::embedded;

const DEVICES: [DeviceSpec; 9] = [
    DeviceSpec::Flex,
    DeviceSpec::NdArray,
    DeviceSpec::Cuda(0),
    DeviceSpec::Rocm(0),
    DeviceSpec::Metal(0),
    DeviceSpec::Vulkan(0),
    DeviceSpec::Wgpu(0),
    DeviceSpec::Tch(TchDevice::Cpu),
    DeviceSpec::Tch(TchDevice::Cuda(0)),
];

/// Generates the latents of a fixed request.
struct Latents;

impl BackendVisitor for Latents {
    type Output = anyhow::Result<Vec<f32>>;

    fn visit<B: Backend>(self, device: B::Device) -> Self::Output {
        let options = LoadOptions::new();
        let pipeline =
            OvisImagePipeline::<B>::from_embedded(&embedded::EMBEDDED, options, &device)?;
        let request = GenerationRequest::new("a lighthouse at dusk")
            .with_size(64, 64)
            .with_num_inference_steps(4)
            .with_max_sequence_length(embedded::MAX_SEQUENCE_LENGTH);
        let latents = pipeline.generate(&request)?.latents.try_into_data();
        latents
            .ok()
            .and_then(|data| data.into_vec().ok())
            .ok_or_else(|| anyhow::anyhow!("the latents could not be read back"))
    }
}

fn main() -> anyhow::Result<()> {
    let mut first: Option<Vec<f32>> = None;
    for spec in DEVICES {
        let device = match spec.open() {
            Ok(device) => device,
            Err(error) => {
                println!("skipped   {:#}", anyhow::Error::from(error));
                continue;
            }
        };
        let name = device.to_string();
        let latents = device.visit(Latents)?;
        match &first {
            None => println!("reference {name}"),
            Some(first) => println!(
                "{:9.1e} {name}: relative difference",
                difference(&latents, first)
            ),
        }
        first.get_or_insert(latents);
    }
    anyhow::ensure!(first.is_some(), "no backend is compiled in and present");
    Ok(())
}

/// Returns `|a - b| / |b|`.
fn difference(a: &[f32], b: &[f32]) -> f64 {
    let norm = |values: &mut dyn Iterator<Item = f32>| {
        values.map(|v| f64::from(v).powi(2)).sum::<f64>().sqrt()
    };
    norm(&mut a.iter().zip(b).map(|(a, b)| a - b)) / norm(&mut b.iter().copied())
}
