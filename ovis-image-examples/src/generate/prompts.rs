//! Prompts with wildcards: each image of a request draws its own.

use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::Args;
use ovis_image::GenerationRequest;

use crate::shared::headings;
use crate::shared::record::PromptTemplate;
use crate::shared::wildcards::Wildcards;
use crate::shared::wildcards::draw::Draw;
use crate::shared::wildcards::folder::WildcardFolder;
use crate::shared::wildcards::template::Template;

/// The arguments for wildcards.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = headings::WILDCARDS)]
pub struct WildcardArguments {
    /// Folder of wildcards: __NAME__ in a prompt is a line of NAME.txt
    ///
    /// Each image draws a line, from its seed. Empty lines and those that begin with # are skipped.
    #[arg(
        long,
        value_name = "DIR",
        conflicts_with = "no_wildcards",
        hide_short_help = true
    )]
    pub wildcards: Option<PathBuf>,
    /// Take {red|blue} in prompts as text
    ///
    /// Without this flag, each image draws red or blue from its seed.
    #[arg(long, hide_short_help = true)]
    pub no_wildcards: bool,
    /// True if the prompt comes from an image, where it was drawn already.
    #[arg(skip)]
    pub is_prompt_drawn: bool,
    /// True if the negative prompt comes from an image.
    #[arg(skip)]
    pub is_negative_prompt_drawn: bool,
}

/// A request whose wildcards were drawn.
#[derive(Debug, Clone)]
pub struct DrawnRequest {
    /// The request. Has a prompt for each image if these differ.
    pub request: GenerationRequest,
    /// Text that was written, for each prompt of the request.
    pub templates: Vec<PromptTemplate>,
}

/// Number of images beyond which nothing is drawn: the check of the request refuses it.
const MOST_IMAGES: usize = 4096;

/// Number of drawn prompts that are listed.
const MOST_NOTES: usize = 16;

impl WildcardArguments {
    /// Draws the prompts of requests, each for itself. `before` is what the record of an image says
    /// of prompts that come from there.
    ///
    /// # Errors
    /// Returns an error if a prompt or a file is malformed, and the errors of [`WildcardFolder`].
    pub fn draw_all(
        &self,
        requests: Vec<GenerationRequest>,
        before: &PromptTemplate,
    ) -> Result<Vec<DrawnRequest>> {
        let folder = self.wildcards.as_deref().map(WildcardFolder::open);
        let mut wildcards = Wildcards::new(folder.transpose()?);
        let requests = requests.into_iter();
        requests
            .map(|request| self.draw(request, before, &mut wildcards))
            .collect()
    }

    /// Draws the prompts of a request's images, each from its image's seed. Images that share a
    /// seed also draw by their place in the batch.
    fn draw(
        &self,
        request: GenerationRequest,
        before: &PromptTemplate,
        wildcards: &mut Wildcards,
    ) -> Result<DrawnRequest> {
        let images = request.num_images();
        let kept = PromptTemplate {
            prompt: before.prompt.clone().filter(|_| self.is_prompt_drawn),
            negative_prompt: before
                .negative_prompt
                .clone()
                .filter(|_| self.is_negative_prompt_drawn),
        };
        let is_drawn = self.is_prompt_drawn && self.is_negative_prompt_drawn;
        if self.no_wildcards || is_drawn || images == 0 || images > MOST_IMAGES {
            return Ok(DrawnRequest {
                templates: vec![kept; request.num_prompts()],
                request,
            });
        }
        let parameters = request.parameters();
        let per_prompt = parameters.images_per_prompt;
        let negatives = &parameters.negative_prompts;
        let mut drawn = [Vec::with_capacity(images), Vec::with_capacity(images)];
        let mut templates = vec![kept; images];
        for (image, template) in templates.iter_mut().enumerate() {
            let prompt = parameters.prompts.get(image / per_prompt);
            let negative = negatives.get(image / per_prompt).or(negatives.first());
            let seed = parameters.seed_of_image(image).unwrap_or(0);
            let place = if parameters.is_seed_shared { image } else { 0 };
            let mut draw = |text: Option<&String>, stream: u64, written: &mut Option<String>| {
                let text = text.map_or("", String::as_str);
                let drawn = wildcards.draw(text, &mut Draw::new(seed, place, stream))?;
                *written = (drawn != text).then(|| text.to_owned());
                anyhow::Ok(drawn)
            };
            drawn[0].push(match prompt {
                Some(prompt) if self.is_prompt_drawn => prompt.clone(),
                prompt => draw(prompt, 0, &mut template.prompt).context("the prompt")?,
            });
            drawn[1].push(match negative {
                Some(negative) if self.is_negative_prompt_drawn => negative.clone(),
                negative => draw(negative, 1, &mut template.negative_prompt)
                    .context("the negative prompt")?,
            });
        }
        Ok(with_prompts(request, drawn, templates))
    }
}

/// Sets the prompt and the negative prompt of each image. Images of one prompt that drew the same
/// stay together, because a prompt is encoded once.
fn with_prompts(
    request: GenerationRequest,
    [mut prompts, mut negatives]: [Vec<String>; 2],
    mut templates: Vec<PromptTemplate>,
) -> DrawnRequest {
    let per_prompt = request.parameters().images_per_prompt;
    if templates.iter().all(PromptTemplate::is_empty) {
        templates.truncate(request.num_prompts());
        return DrawnRequest { request, templates };
    }
    let is_uniform = |texts: &[String]| {
        let mut groups = texts.chunks(per_prompt);
        groups.all(|group| group.iter().all(|text| *text == group[0]))
    };
    let mut images = per_prompt;
    if is_uniform(&prompts) && is_uniform(&negatives) {
        prompts = prompts.into_iter().step_by(per_prompt).collect();
        negatives = negatives.into_iter().step_by(per_prompt).collect();
        templates = templates.into_iter().step_by(per_prompt).collect();
    } else {
        images = 1;
    }
    if negatives.iter().all(|negative| *negative == negatives[0]) {
        negatives.truncate(1);
    }
    DrawnRequest {
        request: request
            .with_prompts(prompts)
            .with_negative_prompts(negatives)
            .with_images_per_prompt(images),
        templates,
    }
}

impl WildcardArguments {
    /// Lists the prompts that were drawn, and a wildcard that was not, for the user to see.
    pub fn notes(&self, requests: &[DrawnRequest]) -> Vec<String> {
        let drawn = requests.iter().flat_map(|drawn| {
            let prompts = drawn.request.parameters().prompts.iter();
            prompts.zip(&drawn.templates)
        });
        let drawn: Vec<&String> = drawn
            .filter(|(_, template)| template.prompt.is_some())
            .map(|(prompt, _)| prompt)
            .collect();
        let shown = drawn.iter().take(MOST_NOTES);
        let mut notes: Vec<String> = shown
            .map(|prompt| format!("note: the prompt is {prompt:?}"))
            .collect();
        if drawn.len() > MOST_NOTES {
            notes.push(format!("note: and {} more", drawn.len() - MOST_NOTES));
        }
        notes.extend(self.undrawn_note(requests));
        notes.extend(self.unused_warning(requests));
        notes
    }

    /// Warns of a folder of wildcards if no prompt has one.
    fn unused_warning(&self, requests: &[DrawnRequest]) -> Option<String> {
        self.wildcards.as_ref()?;
        let is_wildcard = |text: &String| {
            Template::parse(text).is_ok_and(|template| template.first_wildcard().is_some())
        };
        // Prompts without a template are as they were written, without wildcards.
        let mut templates = requests.iter().flat_map(|drawn| &drawn.templates);
        let is_used = templates.any(|template| {
            let prompt = template.prompt.iter().filter(|_| !self.is_prompt_drawn);
            let negative = &template.negative_prompt;
            let negative = negative.iter().filter(|_| !self.is_negative_prompt_drawn);
            prompt.chain(negative).any(is_wildcard)
        });
        (!is_used).then(|| {
            "warning: --wildcards has no effect: no prompt has a wildcard such as __NAME__"
                .to_owned()
        })
    }

    /// Notes `__name__` in a prompt without the folder that it would need.
    fn undrawn_note(&self, requests: &[DrawnRequest]) -> Option<String> {
        if self.wildcards.is_some() || self.no_wildcards || self.is_prompt_drawn {
            return None;
        }
        let mut prompts = requests.iter().flat_map(|drawn| {
            let prompts = drawn.request.parameters().prompts.iter();
            // Escapes are gone from what was drawn.
            let written = drawn.templates.iter().map(|template| &template.prompt);
            prompts
                .zip(written)
                .map(|(prompt, written)| written.as_ref().unwrap_or(prompt))
        });
        prompts.find_map(|prompt| {
            let template = Template::parse(prompt).ok()?;
            let name = template.first_wildcard()?;
            Some(format!(
                "note: `__{name}__` in the prompt is text without --wildcards DIR"
            ))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn draw_with(arguments: &WildcardArguments, request: GenerationRequest) -> DrawnRequest {
        let drawn = arguments.draw_all(vec![request], &PromptTemplate::default());
        drawn.unwrap().remove(0)
    }

    fn draw(request: GenerationRequest) -> DrawnRequest {
        draw_with(&WildcardArguments::default(), request)
    }

    fn prompts(drawn: &DrawnRequest) -> &[String] {
        &drawn.request.parameters().prompts
    }

    const TEMPLATE: &str = "{a|b|c|d} {a|b|c|d} {a|b|c|d} {a|b|c|d}";

    #[test]
    fn each_image_draws_what_its_seed_draws_alone() {
        let base = GenerationRequest::new(TEMPLATE);
        let batch = draw(
            base.clone()
                .with_images_per_prompt(3)
                .with_seed_per_image([5, 6, 5]),
        );
        assert_eq!(batch.request.num_images(), 3);
        assert_eq!(batch.request.parameters().seeds, [5, 6, 5]);
        assert_eq!(prompts(&batch)[0], prompts(&batch)[2]);
        assert_ne!(prompts(&batch)[0], prompts(&batch)[1]);
        for (index, seed) in [5, 6].into_iter().enumerate() {
            let alone = draw(base.clone().with_seed(seed));
            assert_eq!(prompts(&alone)[0], prompts(&batch)[index]);
        }
        let template = PromptTemplate {
            prompt: Some(TEMPLATE.to_owned()),
            negative_prompt: None,
        };
        assert_eq!(batch.templates, vec![template; 3]);
        assert_eq!(WildcardArguments::default().notes(&[batch]).len(), 3);
    }

    #[test]
    fn images_that_share_a_seed_draw_by_their_place() {
        let base =
            GenerationRequest::from_prompts([TEMPLATE, "plain"]).with_negative_prompt("{x|y}");
        let batch = draw(base.with_images_per_prompt(4));
        let [first, rest @ ..] = prompts(&batch) else {
            panic!("there are eight prompts");
        };
        assert_eq!((batch.request.num_images(), rest.len()), (8, 7));
        assert!(rest[..3].iter().any(|prompt| prompt != first));
        assert!(rest[3..].iter().all(|prompt| prompt == "plain"));
        let negatives = &batch.request.parameters().negative_prompts;
        assert!(negatives.contains(&"x".to_owned()) && negatives.contains(&"y".to_owned()));
    }

    #[test]
    fn prompts_without_wildcards_are_left_together() {
        let request = GenerationRequest::new("a {cat}").with_images_per_prompt(3);
        let drawn = draw(request.clone());
        assert_eq!(drawn.templates, [PromptTemplate::default()]);
        assert_eq!(drawn.request.parameters(), request.parameters());
        assert!(WildcardArguments::default().notes(&[drawn]).is_empty());
        // An escape changes all prompts alike.
        let drawn = draw(request.clone().with_prompts(["a \\{cat}"]));
        assert_eq!(prompts(&drawn), ["a {cat}"]);
        assert_eq!(drawn.request.num_images(), 3);
        let literal = WildcardArguments {
            no_wildcards: true,
            ..WildcardArguments::default()
        };
        let drawn = draw_with(&literal, request.with_prompts([TEMPLATE]));
        assert_eq!(prompts(&drawn), [TEMPLATE]);
    }

    #[test]
    fn a_folder_that_no_prompt_uses_is_warned_of() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("color.txt"), "red\n").unwrap();
        let arguments = WildcardArguments {
            wildcards: Some(folder.path().to_owned()),
            ..WildcardArguments::default()
        };
        let notes = |request| arguments.notes(&[draw_with(&arguments, request)]);
        let request = |prompt: &str| GenerationRequest::new(prompt);
        assert!(notes(request("a {red|blue} cat"))[1].contains("--wildcards has no effect"));
        assert_eq!(notes(request("a __color__ cat")).len(), 1);
        let negative = request("a cat").with_negative_prompt("__color__");
        assert!(notes(negative).is_empty());
    }

    #[test]
    fn a_wildcard_without_a_folder_is_warned_of() {
        let arguments = WildcardArguments::default();
        let notes = |prompt: &str| arguments.notes(&[draw(GenerationRequest::new(prompt))]);
        assert!(notes("a __color__ cat")[0].contains("`__color__`"));
        assert!(notes("a {__color__|__color__} cat")[1].contains("`__color__`"));
        assert!(notes("a ____ cat").is_empty());
    }
}
