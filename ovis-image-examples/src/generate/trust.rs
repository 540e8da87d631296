//! Trust in the files that the record of an image names. Whoever made the image chose them, so they
//! are read without asking only if they lie in the image's own folder.

use std::fmt;
use std::path::{Component, Path, PathBuf, Prefix};

use anyhow::{Result, ensure};
use ovis_image::error::Printable;

use super::arguments::Arguments;
use super::links::link_leaving;
use crate::shared::hub;
use crate::shared::record::{InputRole, Inputs};
use crate::shared::terminal::shown;
use crate::shared::usage::UsageError;

/// A file, folder or repository that a run reads.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Input {
    role: InputRole,
    path: PathBuf,
}

/// Place of an input as seen from the image that names it.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Place {
    /// The folder of the image.
    Beside,
    /// The folder of the image, by a link that leads out of it.
    Linked(PathBuf),
    /// Elsewhere on this machine, or on another one that it has mounted.
    Outside,
    /// A repository on the Hub.
    Hub,
}

impl Input {
    fn place(&self, folder: &Path) -> Place {
        let is_model = self.role == InputRole::Model;
        if hub::is_marked(&self.path) || is_model && hub::repository_in(&self.path).is_some() {
            Place::Hub
        } else if is_within(&self.path, folder) {
            link_leaving(&self.path, folder).map_or(Place::Beside, Place::Linked)
        } else {
            Place::Outside
        }
    }
}

impl fmt::Display for Input {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} `{}`", self.role, shown(&self.path))
    }
}

/// Inputs that a record makes a run read.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RecordedInputs {
    inputs: Vec<Input>,
}

impl RecordedInputs {
    /// Fills in the arguments that were not given from a record, and lists the inputs that came
    /// with it.
    ///
    /// # Errors
    /// Returns the errors of [`Arguments::filled_from`].
    pub fn fill(
        arguments: Arguments,
        record: &crate::shared::record::Record,
    ) -> Result<(Arguments, Self)> {
        let given = inputs(&arguments);
        let filled = arguments.filled_from(record)?;
        let mut inputs = inputs(&filled);
        inputs.retain(|input| !given.contains(input));
        Ok((filled, Self { inputs }))
    }

    /// Describes the inputs in one line; `None` if there are none.
    pub fn description(&self, image: &Path) -> Option<String> {
        if self.inputs.is_empty() {
            return None;
        }
        let inputs: Vec<String> = self.inputs.iter().map(Input::to_string).collect();
        Some(format!("{} loads {}", shown(image), inputs.join(", ")))
    }

    /// Checks that all inputs lie in the folder of the image, so that no trust is needed.
    ///
    /// # Errors
    /// Returns an error that lists the inputs which do not, and says how to allow them.
    pub fn check(&self, image: &Path) -> Result<()> {
        let folder = folder_of(image);
        let foreign: Vec<String> = self
            .inputs
            .iter()
            .filter_map(|input| match input.place(folder) {
                Place::Beside => None,
                Place::Linked(link) => Some(format!(
                    "{input} (its link `{}` leads out of the image's folder)",
                    shown(&link)
                )),
                Place::Outside => Some(format!("{input} (outside the image's folder)")),
                Place::Hub => Some(format!("{input} (from the Hub)")),
            })
            .collect();
        ensure!(
            foreign.is_empty(),
            UsageError(format!(
                "{} would load {}: add --trust-image if you trust the image, or give your own files \
                 with the arguments for them",
                shown(image),
                foreign.join(", ")
            ))
        );
        Ok(())
    }
}

/// Lists everything that the arguments make a run read.
fn inputs(arguments: &Arguments) -> Vec<Input> {
    let mut recorded = arguments.inputs();
    let paths = recorded.paths_mut().map(|(role, path)| Input {
        role,
        path: path.clone(),
    });
    let loras = arguments.lora.iter().map(|lora| Input {
        role: InputRole::Lora,
        path: lora.path.clone(),
    });
    paths.chain(loras).collect()
}

/// Looks for the files of a record beside the image: paths that are not absolute may have been
/// relative to the folder that the image was made in, and moved with it.
pub fn look_beside(image: &Path, inputs: &mut Inputs) {
    let folder = folder_of(image);
    let beside = |path: &Path| {
        let moved = folder.join(path);
        let is_moved = path.is_relative() && !hub::is_marked(path) && moved.exists();
        is_moved.then_some(moved)
    };
    for (_, path) in inputs.paths_mut() {
        if let Some(moved) = beside(path) {
            *path = moved;
        }
    }
    for text in &mut inputs.loras {
        let Ok(mut lora) = text.parse::<crate::shared::lora::LoraArgument>();
        if let Some(moved) = beside(&lora.path) {
            lora.path = moved;
            *text = lora.to_string();
        }
    }
}

/// Returns whether a path lies within a folder, links followed.
fn is_within(path: &Path, folder: &Path) -> bool {
    // Even to ask for such a path would contact its server.
    if let Some(Component::Prefix(prefix)) = path.components().next()
        && !matches!(prefix.kind(), Prefix::Disk(_) | Prefix::VerbatimDisk(_))
    {
        return false;
    }
    if let (Ok(path), Ok(folder)) = (path.canonicalize(), folder.canonicalize()) {
        return path.starts_with(folder);
    }
    // What does not exist is not read, so that its place only decides which error is shown.
    let climbs = path.components().any(|part| part == Component::ParentDir);
    let absolute = (std::path::absolute(path), std::path::absolute(folder));
    matches!(absolute, (Ok(path), Ok(folder)) if !climbs && path.starts_with(&folder))
}

fn folder_of(image: &Path) -> &Path {
    match image.parent() {
        Some(folder) if folder != Path::new("") => folder,
        _ => Path::new("."),
    }
}

/// Describes files that changed since the image was made, one a line.
pub fn changes(image: &Path, differences: &[&str]) -> Vec<String> {
    let image = shown(image);
    differences
        .iter()
        .map(|what| {
            format!(
                "the {} is another file than {image} was made from: the new image will differ",
                Printable(what)
            )
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    fn place(role: InputRole, path: impl Into<PathBuf>, folder: &Path) -> Place {
        let path = path.into();
        Input { role, path }.place(folder)
    }

    #[test]
    fn the_place_of_an_input_is_where_it_really_is() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("images");
        std::fs::create_dir(&folder).unwrap();
        let inside = folder.join("start.png");
        let outside = root.path().join("secret.png");
        for path in [&inside, &outside] {
            std::fs::write(path, "").unwrap();
        }
        let image = InputRole::SourceImage;
        assert_eq!(place(image, &inside, &folder), Place::Beside);
        assert_eq!(
            place(image, folder.join("gone.png"), &folder),
            Place::Beside
        );
        assert_eq!(place(InputRole::Model, &folder, &folder), Place::Beside);
        assert_eq!(place(image, &outside, &folder), Place::Outside);
        assert_eq!(
            place(image, folder.join("../secret.png"), &folder),
            Place::Outside
        );
        assert_eq!(
            place(image, folder.join("../gone.png"), &folder),
            Place::Outside
        );
        assert_eq!(place(InputRole::Model, "owner/name", &folder), Place::Hub);
        assert_eq!(
            place(InputRole::Lora, "hf:owner/name/file", &folder),
            Place::Hub
        );
        #[cfg(unix)]
        {
            let link = folder.join("link.png");
            std::os::unix::fs::symlink(&outside, &link).unwrap();
            assert_eq!(place(image, link, &folder), Place::Outside);
            let model = folder.join("model");
            std::fs::create_dir(&model).unwrap();
            let link = model.join("config.json");
            std::os::unix::fs::symlink(&outside, &link).unwrap();
            assert_eq!(place(InputRole::Model, model, &folder), Place::Linked(link));
        }
    }

    #[test]
    fn relative_paths_are_looked_for_beside_the_image() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["start.png", "style.safetensors"] {
            std::fs::write(folder.path().join(name), "").unwrap();
        }
        let mut inputs = Inputs {
            model: Some("owner/name".into()),
            init_image: Some("start.png".into()),
            mask: Some("elsewhere.png".into()),
            loras: vec!["style.safetensors:0.5".to_owned()],
            ..Inputs::default()
        };
        look_beside(&folder.path().join("image.png"), &mut inputs);
        assert_eq!(inputs.model, Some("owner/name".into()));
        assert_eq!(inputs.init_image, Some(folder.path().join("start.png")));
        assert_eq!(inputs.mask, Some("elsewhere.png".into()));
        let lora = folder.path().join("style.safetensors");
        assert_eq!(inputs.loras, [format!("{}:0.5", lora.display())]);
    }

    #[test]
    fn every_path_among_the_arguments_is_an_input() {
        let arguments = Arguments::parse_from([
            "generate",
            "--prompt",
            "x",
            "--model",
            "a",
            "--transformer",
            "b",
            "--vae",
            "c",
            "--text-encoder",
            "d",
            "--tokenizer",
            "e",
            "--init-image",
            "f",
            "--mask",
            "g",
            "--latents",
            "h",
            "--lora",
            "i:0.5",
            "--lora",
            "j",
        ]);
        let paths: Vec<PathBuf> = inputs(&arguments)
            .into_iter()
            .map(|input| input.path)
            .collect();
        let expected = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j"];
        assert_eq!(paths, expected.map(PathBuf::from));
    }
}
