//! Wildcards in prompts, as users of A1111's dynamic prompts know them: `{red|blue}` is one of its
//! alternatives, and `__name__` a line of `name.txt` in a folder.
//!
//! [`template`] parses a prompt, [`folder`] reads the files, [`draw`] is the random generator. This
//! file draws a prompt from its template.

pub mod draw;
pub mod folder;
pub mod template;

use anyhow::{Context, Result, ensure};

use draw::Draw;
use folder::WildcardFolder;
use template::{Alternative, Part, Template};

use super::usage::UsageError;

/// Number of files that may name one another in turn.
const MOST_NESTED_FILES: usize = 16;
/// Number of alternatives and lines that one prompt may draw.
const MOST_DRAWS: usize = 10_000;
/// Length of the longest prompt that is drawn, in bytes.
const MOST_TEXT: usize = 1 << 16;

/// Draws prompts from templates.
#[derive(Debug, Default)]
pub struct Wildcards {
    folder: Option<WildcardFolder>,
}

impl Wildcards {
    /// Draws alternatives, and lines of the folder's files. Without a folder, `__name__` is text.
    pub fn new(folder: Option<WildcardFolder>) -> Self {
        Self { folder }
    }

    /// Draws a prompt from a template. The same generator draws the same prompt.
    ///
    /// # Errors
    /// Returns an error if the template or one of its files is malformed, if a file cannot be read,
    /// or if the prompt would be too long or nested too deeply.
    pub fn draw(&mut self, template: &str, draw: &mut Draw) -> Result<String> {
        let template = Template::parse(template)?;
        let mut drawing = Drawing {
            folder: self.folder.as_mut(),
            draw,
            prompt: String::new(),
            draws: 0,
        };
        drawing.write(template.parts(), 0)?;
        Ok(drawing.prompt)
    }
}

/// A prompt that is being drawn.
struct Drawing<'a> {
    folder: Option<&'a mut WildcardFolder>,
    draw: &'a mut Draw,
    prompt: String,
    draws: usize,
}

impl Drawing<'_> {
    fn write(&mut self, parts: &[Part], nested_files: usize) -> Result<()> {
        for part in parts {
            match part {
                Part::Text(text) => self.write_text(text)?,
                Part::Choice(alternatives) => {
                    let chosen = self.choose(alternatives)?;
                    self.write(&chosen.parts, nested_files)?;
                }
                Part::Wildcard(name) => self.write_line(name, nested_files)?,
            }
        }
        Ok(())
    }

    fn write_text(&mut self, text: &str) -> Result<()> {
        ensure!(
            self.prompt.len() + text.len() <= MOST_TEXT,
            UsageError(format!("the drawn prompt is longer than {MOST_TEXT} bytes"))
        );
        self.prompt.push_str(text);
        Ok(())
    }

    /// Writes a line of a file.
    fn write_line(&mut self, name: &str, nested_files: usize) -> Result<()> {
        let Some(folder) = &mut self.folder else {
            return self.write_text(&format!("__{name}__"));
        };
        ensure!(
            nested_files < MOST_NESTED_FILES,
            UsageError(format!(
                "`__{name}__` is nested in {MOST_NESTED_FILES} other files: does a file name itself?"
            ))
        );
        let lines = folder.lines(name)?;
        let chosen = self
            .choose(&lines)
            .with_context(|| format!("`__{name}__`"))?;
        self.write(&chosen.parts, nested_files + 1)
    }

    fn choose<'b>(&mut self, alternatives: &'b [Alternative]) -> Result<&'b Alternative> {
        self.draws += 1;
        ensure!(
            self.draws <= MOST_DRAWS,
            UsageError(format!(
                "the prompt has more than {MOST_DRAWS} alternatives to draw"
            ))
        );
        let weights = alternatives.iter().map(|alternative| alternative.weight);
        let index = self.draw.weighted(weights);
        index
            .and_then(|index| alternatives.get(index))
            .ok_or_else(|| UsageError::new("the weights of all alternatives are 0").into())
    }
}

#[cfg(test)]
mod tests;
