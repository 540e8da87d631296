//! Names of the images of a run.

use std::collections::HashSet;
use std::io::IsTerminal;
use std::ops::Range;
use std::path::{Path, PathBuf};

use anyhow::{Result, bail, ensure};
use ovis_image::GenerationRequest;

use crate::shared::image_file::ENDINGS;
use crate::shared::output_file::{self, numbered};
use crate::shared::program;
use crate::shared::typed;
use crate::shared::usage::UsageError;

/// Name that stands for standard output.
const STDOUT: &str = "-";

/// Flag that names the output.
const OUTPUT: &str = "--output";

/// Number of images of a run that are named. The check of requests refuses more.
const MOST_FILES: usize = 1 << 16;

/// Number of files that are checked before the work.
const MOST_CHECKED: usize = 4096;

/// Number of characters of a prompt in a file name.
const MOST_CHARACTERS: usize = 60;

/// A part of the pattern in braces.
const FIELDS: &str = "{seed}, {index} and {prompt}";

/// Returns whether the output is standard output.
pub fn is_stdout(output: &Path) -> bool {
    output == Path::new(STDOUT)
}

/// Checks a name before anything is known about the images.
///
/// # Errors
/// Returns the errors of [`output_file::check`] for a name without braces, and an error if standard
/// output is a terminal or is needed for JSON.
pub fn check(output: &Path, json: bool) -> Result<()> {
    if !is_stdout(output) {
        // Braces may name a folder, too.
        return match output.to_str() {
            Some(text) if text.contains('{') => Ok(()),
            _ => output_file::check(OUTPUT, output, &ENDINGS),
        };
    }
    ensure!(
        !json,
        UsageError(format!(
            "{} - and --json: the image and the summary cannot both go to standard output",
            typed::name(OUTPUT)
        ))
    );
    ensure!(
        !std::io::stdout().is_terminal(),
        UsageError(format!(
            "{} -: standard output is a terminal; redirect it to a file or program",
            typed::name(OUTPUT)
        ))
    );
    Ok(())
}

/// Writes an image to its file, or to standard output.
///
/// # Errors
/// Returns the errors of writing.
pub fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    if is_stdout(path) {
        program::print(bytes)
    } else {
        output_file::write_whole(path, bytes)
    }
}

/// Names the images at these places of each request, in their order. In the pattern, `{seed}`,
/// `{index}` and `{prompt}` stand for those of each image. Names that would be equal are numbered.
///
/// # Errors
/// Returns an error for an unknown part in braces, for several images on standard output, and the
/// errors of [`output_file::check`].
pub fn names(
    pattern: &Path,
    requests: &[GenerationRequest],
    places: Range<usize>,
) -> Result<Vec<PathBuf>> {
    let names = unchecked(pattern, requests, places)?;
    if !is_stdout(pattern) {
        for name in names.iter().take(MOST_CHECKED) {
            output_file::check(OUTPUT, name, &ENDINGS)?;
        }
    }
    Ok(names)
}

fn unchecked(
    pattern: &Path,
    requests: &[GenerationRequest],
    places: Range<usize>,
) -> Result<Vec<PathBuf>> {
    let total = places.len().saturating_mul(requests.len());
    if is_stdout(pattern) {
        ensure!(
            total == 1,
            UsageError(format!(
                "{} -: {total} images cannot be written to standard output; name a file",
                typed::name(OUTPUT)
            ))
        );
        return Ok(vec![pattern.to_owned()]);
    }
    let Some(text) = pattern.to_str().filter(|text| text.contains('{')) else {
        let total = total.min(MOST_FILES);
        return Ok((0..total)
            .map(|index| numbered(pattern, index, total))
            .collect());
    };
    let images = requests
        .iter()
        .flat_map(|request| places.clone().map(move |place| (request, place)))
        .take(MOST_FILES);
    let names = images
        .enumerate()
        .map(|(index, (request, place))| Ok(name(text, request, place, index)?.into()));
    let names = names.collect::<Result<Vec<PathBuf>>>()?;
    let different: HashSet<&PathBuf> = names.iter().collect();
    if different.len() == names.len() {
        return Ok(names);
    }
    let total = names.len();
    let names = names.iter().enumerate();
    Ok(names
        .map(|(index, name)| numbered(name, index, total))
        .collect())
}

/// Fills in the pattern for one image.
fn name(pattern: &str, request: &GenerationRequest, place: usize, index: usize) -> Result<String> {
    let parameters = request.parameters();
    let mut name = String::with_capacity(pattern.len());
    let mut rest = pattern;
    while let Some((before, after)) = rest.split_once('{') {
        name.push_str(before);
        let Some((field, after)) = after.split_once('}') else {
            bail!(UsageError(format!(
                "`{pattern}` has a brace that is not closed"
            )));
        };
        name.push_str(&match field {
            "index" => index.to_string(),
            "seed" => match parameters.seed_of_image(place) {
                Some(seed) if request.latents().is_none() => seed.to_string(),
                _ => "latents".to_owned(),
            },
            "prompt" => {
                let prompt = place / parameters.images_per_prompt.max(1);
                in_file_name(parameters.prompts.get(prompt).map_or("", String::as_str))
            }
            _ => bail!(UsageError(format!(
                "`{{{field}}}` in `{pattern}` is not one of {FIELDS}"
            ))),
        });
        rest = after;
    }
    name.push_str(rest);
    Ok(name)
}

/// Shortens a prompt to words that a file name can have on every system.
fn in_file_name(prompt: &str) -> String {
    let words = prompt.split(|c: char| !c.is_alphanumeric());
    let words: Vec<&str> = words.filter(|word| !word.is_empty()).collect();
    let name: String = words.join("-").chars().take(MOST_CHARACTERS).collect();
    if name.is_empty() {
        "image".to_owned()
    } else {
        name
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(pattern: &str, requests: &[GenerationRequest], count: usize) -> Vec<String> {
        let names = unchecked(pattern.as_ref(), requests, 0..count).unwrap();
        let text = |path: PathBuf| path.to_str().unwrap().to_owned();
        names.into_iter().map(text).collect()
    }

    #[test]
    fn fields_stand_for_those_of_each_image() {
        let request = GenerationRequest::from_prompts(["a cat: \"OPEN\"!", "一只猫"])
            .with_images_per_prompt(2)
            .with_seed_per_image([5, 6, 7, 8]);
        assert_eq!(
            named("out/{prompt}-{seed}.png", std::slice::from_ref(&request), 4),
            [
                "out/a-cat-OPEN-5.png",
                "out/a-cat-OPEN-6.png",
                "out/一只猫-7.png",
                "out/一只猫-8.png"
            ]
        );
        let names = named("{index}.png", std::slice::from_ref(&request), 4);
        assert_eq!(names, ["0.png", "1.png", "2.png", "3.png"]);
        // Two images have the same name without a number.
        let names = named("{prompt}.webp", &[request], 4);
        assert_eq!(
            (&names[0][..], &names[3][..]),
            ("a-cat-OPEN-0.webp", "一只猫-3.webp")
        );
    }

    #[test]
    fn names_without_fields_are_numbered_if_there_are_several() {
        let request = GenerationRequest::new("a/b\\c");
        let several = vec![request.clone(); 2];
        assert_eq!(
            named("image.png", &several, 1),
            ["image-0.png", "image-1.png"]
        );
        assert_eq!(named("image.png", &several[..1], 1), ["image.png"]);
        assert_eq!(named("{prompt}.png", &several[..1], 1), ["a-b-c.png"]);
        assert_eq!(
            named("{prompt}.png", &[GenerationRequest::new("…")], 1),
            ["image.png"]
        );
        let long = GenerationRequest::new("cat ".repeat(500));
        assert!(named("{prompt}.png", &[long], 1)[0].len() < 80);
        let third = GenerationRequest::new("x").with_seed_per_image([1, 2, 3]);
        let third = unchecked("{seed}.png".as_ref(), &[third], 2..3).unwrap();
        assert_eq!(third, [Path::new("3.png")]);
        let absurd = unchecked("image.png".as_ref(), &several, 0..usize::MAX).unwrap();
        assert_eq!(absurd.len(), MOST_FILES);
    }

    #[test]
    fn unknown_fields_and_several_images_on_stdout_are_refused() {
        let request = GenerationRequest::new("x");
        for bad in ["{model}.png", "{.png", "{}.png"] {
            let error = names(bad.as_ref(), std::slice::from_ref(&request), 0..1).unwrap_err();
            assert!(error.to_string().contains(bad), "{error}");
        }
        assert_eq!(named("-", std::slice::from_ref(&request), 1), ["-"]);
        assert!(names("-".as_ref(), &[request], 0..2).is_err());
    }
}
