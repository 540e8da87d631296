//! Warnings of flags that have no effect beside the others.

use ovis_image::{Checkpoint, GenerationRequest};

use super::arguments::Arguments;
use super::grid::{GridAxis, GridSetting};
use crate::shared::program::say;
use crate::shared::typed;

/// Encodings that are used as they are stored.
const PLAIN: [&str; 3] = ["F32", "F16", "BF16"];

/// Warns of the flags that have no effect on this request and model.
pub fn say_all(arguments: &Arguments, request: &GenerationRequest, checkpoint: &Checkpoint) {
    for warning in warnings(arguments, request, checkpoint) {
        say(&format!("warning: {warning}"));
    }
}

/// Lists the flags that have no effect on this request and model, each with the reason.
pub fn warnings(
    arguments: &Arguments,
    request: &GenerationRequest,
    checkpoint: &Checkpoint,
) -> Vec<String> {
    let mut warnings: Vec<String> = arguments
        .grid
        .iter()
        .filter_map(|axis| overridden(arguments, axis))
        .map(|flag| {
            let flag = typed::name(flag);
            format!("{flag} has no effect: --grid sets it for each image")
        })
        .collect();
    warnings.extend(unguided(arguments, request));
    if arguments.memory.expand_quantized && !is_quantized(checkpoint) {
        warnings.push(
            "--expand-quantized has no effect: the transformer is not a quantized GGUF file"
                .to_owned(),
        );
    }
    let config = checkpoint.transformer_config();
    let blocks = config.num_layers + config.num_single_layers;
    if let Some(streamed) = arguments.memory.stream_blocks
        && (blocks + 1..usize::MAX).contains(&streamed)
    {
        warnings.push(format!(
            "--stream-blocks {streamed} streams all {blocks} blocks that the transformer has"
        ));
    }
    let (width, height) = request.size();
    if let Some(tile) = arguments.memory.vae_tile
        && width <= tile
        && height <= tile
    {
        warnings.push(format!(
            "--vae-tile {tile} has no effect: an image of {width}x{height} fits into one tile"
        ));
    }
    warnings
}

/// Returns the flag that was given beside a grid that sets the same.
fn overridden(arguments: &Arguments, axis: &GridAxis) -> Option<&'static str> {
    let sampling = &arguments.sampling;
    let (is_given, flag) = match axis.setting {
        GridSetting::Seed => (arguments.seed.is_some(), "--seed"),
        GridSetting::GuidanceScale => (sampling.guidance_scale.is_some(), "--guidance-scale"),
        GridSetting::Steps => (arguments.steps.is_some(), "--steps"),
        GridSetting::Sampler => (sampling.sampler.is_some(), "--sampler"),
        GridSetting::Schedule => (sampling.schedule.is_some(), "--schedule"),
        GridSetting::Sigmas => (sampling.sigmas.is_some(), "--sigmas"),
        GridSetting::Guidance => (sampling.guidance.is_some(), "--guidance"),
        // `none` among the values leaves the flag as it is.
        GridSetting::StepCache => {
            let is_set = !axis.values.iter().any(|value| value == "none");
            (sampling.step_cache.is_some() && is_set, "--step-cache")
        }
        // Without a prompt, the first of the grid's is the prompt.
        GridSetting::Prompt => (arguments.prompt.first() != axis.values.first(), "--prompt"),
    };
    is_given.then_some(flag)
}

/// Lists the flags that need guidance, if there is none.
fn unguided(arguments: &Arguments, request: &GenerationRequest) -> Vec<String> {
    let varies = arguments
        .grid
        .iter()
        .any(|axis| axis.setting == GridSetting::GuidanceScale);
    let guidance = &request.parameters().guidance;
    if varies || guidance.uses_negative_prompt() {
        return Vec::new();
    }
    let sampling = &arguments.sampling;
    let has_negative = arguments
        .negative_prompt
        .as_ref()
        .is_some_and(|prompt| !prompt.is_empty());
    let flags = [
        (has_negative, "--negative-prompt"),
        (sampling.guidance.is_some(), "--guidance"),
        (sampling.guidance_interval.is_some(), "--guidance-interval"),
    ];
    flags
        .into_iter()
        .filter(|(is_given, _)| *is_given)
        .map(|(_, flag)| {
            format!(
                "{flag} has no effect: the guidance scale is {}, and 1 and below turn guidance off",
                guidance.scale
            )
        })
        .collect()
}

fn is_quantized(checkpoint: &Checkpoint) -> bool {
    checkpoint
        .inspect()
        .iter()
        .filter(|part| part.part == "transformer")
        .flat_map(|part| &part.encodings)
        .any(|share| !PLAIN.contains(&share.encoding.as_str()))
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use ovis_image::Checkpoint;

    use super::*;
    use crate::shared::embedded::EMBEDDED;

    fn said(flags: &str) -> Vec<String> {
        let words = ["generate", "a cat", "--width", "64"].into_iter();
        let arguments = Arguments::parse_from(words.chain(flags.split_whitespace()));
        let arguments = arguments.with_prompts_joined(None);
        let request = arguments.request(None).unwrap();
        let checkpoint = Checkpoint::open_embedded(&EMBEDDED).unwrap();
        warnings(&arguments, &request.request, &checkpoint)
    }

    #[test]
    fn flags_without_effect_are_named_with_the_reason() {
        for (flags, flag, reason) in [
            ("--seed 1 --grid seed=1,2", "--seed", "--grid"),
            (
                "--steps 4 --grid seed=1 --grid steps=4",
                "--steps",
                "--grid",
            ),
            ("--grid prompt=dog,bird", "--prompt", "--grid"),
            (
                "--negative-prompt x --cfg-scale 1 --grid guidance-scale=1,5",
                "--guidance-scale",
                "--grid",
            ),
            (
                "--negative-prompt x --cfg-scale 1",
                "--negative-prompt",
                "guidance scale is 1",
            ),
            (
                "--guidance apg --cfg-scale 0",
                "--guidance",
                "guidance scale is 0",
            ),
            (
                "--guidance-interval 0..1 --cfg-scale 1",
                "--guidance-interval",
                "scale",
            ),
            (
                "--expand-quantized",
                "--expand-quantized",
                "not a quantized",
            ),
            ("--stream-blocks 99", "--stream-blocks 99", "all"),
            ("--height 64 --vae-tile 64", "--vae-tile 64", "64x64"),
        ] {
            let said = said(flags);
            assert_eq!(said.len(), 1, "{flags}: {said:?}");
            assert!(
                said[0].starts_with(flag) && said[0].contains(reason),
                "{said:?}"
            );
        }
    }

    #[test]
    fn flags_with_an_effect_are_not_warned_of() {
        for flags in [
            "",
            "--seed 1 --grid steps=4,5",
            "--negative-prompt x",
            "--stream-blocks all",
            "--stream-blocks 2",
            "--vae-tile 64",
            "--step-cache taylor:2 --grid step-cache=none,tea:0.1",
        ] {
            assert_eq!(said(flags), [""; 0], "{flags}");
        }
    }
}
