//! The memory plan in one line.

use bytesize::ByteSize;
use ovis_image::memory::MemoryPlan;

/// Describes what a plan keeps on the device, and what it does to fit.
pub fn report(plan: &MemoryPlan) -> String {
    let estimate = &plan.estimate;
    let size = |bytes: u64| ByteSize::b(bytes).display().si().to_string();
    let mut parts = vec![format!(
        "memory: at most {}; on the device: {} of the transformer, {} of the text encoder, {} of the VAE",
        size(estimate.peak),
        size(estimate.transformer),
        size(estimate.text_encoder),
        size(estimate.vae)
    )];
    if estimate.quantized > 0 {
        parts.push(format!("{} of quantized weights", size(estimate.quantized)));
    }
    if estimate.streamed_blocks > 0 {
        parts.push(format!("{} blocks are streamed", estimate.streamed_blocks));
    }
    if plan.request.parameters().vae_tiling.is_some() {
        parts.push("decoding in tiles".to_owned());
    }
    parts.join("; ")
}
