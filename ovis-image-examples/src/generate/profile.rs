//! The time of a run by phase, in a few lines.

use std::time::Duration;

use ovis_image::pipeline::{DenoisingProfile, StepCacheReport, Timings};

/// Lists seconds per phase and, within the steps, per kind of block.
pub fn report(
    timings: &Timings,
    profile: Option<&DenoisingProfile>,
    cache: Option<&StepCacheReport>,
) -> String {
    let mut lines = vec!["profile:".to_owned()];
    let whole = timings.total.as_secs_f64().max(f64::EPSILON);
    let mut add = |indent: &str, name: &str, time: Duration| {
        let seconds = time.as_secs_f64();
        let percent = 100.0 * seconds / whole;
        lines.push(format!("{indent}{name:<16}{seconds:9.3} s {percent:5.1} %"));
    };
    add("  ", "text encoding", timings.text_encoding);
    add("  ", "image encoding", timings.image_encoding);
    add("  ", "denoising", timings.denoising);
    if let Some(profile) = profile {
        for (name, time) in [
            ("modulation", profile.modulation),
            ("embedding", profile.embedding),
            ("double blocks", profile.double_blocks),
            ("single blocks", profile.single_blocks),
            ("final layer", profile.final_layer),
            ("guidance", profile.guidance),
            ("sampler", profile.sampler),
        ] {
            add("    ", name, time);
        }
    }
    add("  ", "VAE decoding", timings.vae_decoding);
    if let Some(profile) = profile {
        lines.push(format!("  {} forwards", profile.forwards));
    }
    if let Some(cache) = cache {
        lines.push(format!(
            "  step cache: {} predictions computed, {} skipped",
            cache.computed, cache.skipped
        ));
    }
    lines.join("\n")
}
