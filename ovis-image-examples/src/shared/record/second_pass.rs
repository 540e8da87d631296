//! The second pass in the text `parameters`, where A1111's web UI calls it "hires fix".

use ovis_image::request::UpscaleMethod;
use ovis_image::{GenerationSettings, SecondPass};

use super::parameters::Parameters;

const SCALE: &str = "Hires upscale";
const STEPS: &str = "Hires steps";
const UPSCALER: &str = "Hires upscaler";
const STRENGTH: &str = "Denoising strength";

/// Writes the second pass of an image as A1111's web UI does. Its steps are those that run.
pub fn fields(settings: &GenerationSettings) -> Vec<(&'static str, String)> {
    let run = settings.second_pass_run.as_ref();
    let Some((second_pass, run)) = settings.parameters.second_pass.zip(run) else {
        return Vec::new();
    };
    let upscaler = match second_pass.upscale {
        UpscaleMethod::Image => "Lanczos",
        _ => "Latent",
    };
    let steps = run.sigmas.len().saturating_sub(1);
    vec![
        (SCALE, second_pass.scale.to_string()),
        (STEPS, steps.to_string()),
        (UPSCALER, upscaler.to_owned()),
        (STRENGTH, second_pass.strength.to_string()),
    ]
}

/// Reads the second pass of another program's image. `None` if it had none, or one to a fixed size.
pub fn read(parameters: &Parameters) -> Option<SecondPass> {
    let text = |name: &str| parameters.others.get(name);
    let number = |name: &str| text(name)?.parse::<f64>().ok();
    let mut second_pass = SecondPass::new(number(SCALE)?);
    // A1111's scaling models work on the image.
    if text(UPSCALER).is_some_and(|name| !name.starts_with("Latent")) {
        second_pass = second_pass.with_upscale(UpscaleMethod::Image);
    }
    let strength = number(STRENGTH).filter(|strength| 0.0 < *strength && *strength <= 1.0);
    let Some(strength) = strength else {
        return Some(second_pass);
    };
    second_pass = second_pass.with_strength(strength);
    // A1111 runs all of these steps; here, a part of them runs.
    let all = text(STEPS).and_then(|steps| steps.parse::<usize>().ok());
    Some(match all.or(parameters.steps) {
        Some(run) if run > 0 => second_pass.with_steps((run as f64 / strength) as usize),
        _ => second_pass,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_programs_second_pass_is_read() {
        let read = |fields: &str| {
            let text = format!("a cat\nSteps: 20, Seed: 1, Size: 512x512, {fields}");
            read(&Parameters::parse(&text))
        };
        let pass = read(
            "Denoising strength: 0.5, Hires upscale: 1.5, Hires steps: 15, Hires upscaler: Latent (nearest-exact)",
        );
        let expected = SecondPass::new(1.5).with_strength(0.5).with_steps(30);
        assert_eq!(pass, Some(expected));
        let pass = read("Denoising strength: 0.4, Hires upscale: 2, Hires upscaler: R-ESRGAN 4x+");
        let expected = SecondPass::new(2.0)
            .with_strength(0.4)
            .with_steps(50)
            .with_upscale(UpscaleMethod::Image);
        assert_eq!(pass, Some(expected));
        assert_eq!(read("Hires upscale: 2"), Some(SecondPass::new(2.0)));
        for none in ["Denoising strength: 0.4", "Hires resize: 512x768"] {
            assert_eq!(read(none), None);
        }
    }
}
