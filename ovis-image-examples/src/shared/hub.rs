//! Models and files of the Hugging Face Hub from the command line.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::Args;
#[cfg(feature = "hub")]
use ovis_image::error::Printable;

use super::headings;
use super::usage::UsageError;

/// Prefix of a path on the command line that is a file or repository of the Hub.
const PREFIX: &str = "hf:";

/// The arguments that say how to reach the Hub. They take precedence over the environment.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = headings::HUB)]
pub struct HubArguments {
    /// Download nothing: use only files in the cache [env: HF_HUB_OFFLINE]
    #[arg(long, hide_short_help = true)]
    pub offline: bool,
    /// Folder for downloads [env: HF_HUB_CACHE] [default: $HF_HOME/hub or ~/.cache/huggingface/hub]
    #[arg(long, value_name = "DIR", hide_short_help = true)]
    pub hub_cache: Option<PathBuf>,
    /// Address of a mirror of the Hub [env: HF_ENDPOINT]
    #[arg(long, value_name = "URL", hide_short_help = true)]
    pub hub_endpoint: Option<String>,
}

impl HubArguments {
    /// Finds the folder of a model: the path itself if it exists, or else the folder of
    /// `owner/name[@revision]`, which is downloaded.
    ///
    /// # Errors
    /// Returns the library's error if the download fails, and an error that says what a model can
    /// be if the path does not exist.
    pub fn folder(&self, path: &Path) -> Result<PathBuf> {
        match repository_in(path) {
            Some(repository) => self.download(&repository, None).with_context(|| {
                format!(
                    "`{}` is not a folder, so it was looked up on the Hub",
                    path.display()
                )
            }),
            None => {
                anyhow::ensure!(
                    path.exists(),
                    "{} not found: a model must be a checkpoint folder, or a repository of the Hub as \
                     owner/name, for example AIDC-AI/Ovis-Image-7B",
                    path.display()
                );
                Ok(path.to_owned())
            }
        }
    }

    /// Finds a file or folder: the path itself, or the file of `hf:owner/name[@revision]/FILE`,
    /// which is downloaded.
    ///
    /// # Errors
    /// Returns the library's error if the download fails.
    pub fn file(&self, path: &Path) -> Result<PathBuf> {
        let Some(reference) = path.to_str().and_then(|text| text.strip_prefix(PREFIX)) else {
            return Ok(path.to_owned());
        };
        // A revision such as `refs/pr/1` has slashes of its own.
        let name_ends = if reference.contains("@refs/") { 4 } else { 2 };
        let Some((index, _)) = reference.match_indices('/').nth(name_ends - 1) else {
            anyhow::bail!(UsageError(format!(
                "`{}` does not name a file: it must be `{PREFIX}owner/name/FILE`",
                path.display()
            )));
        };
        self.download(&reference[..index], Some(&reference[index + 1..]))
    }

    /// Finds the file of a LoRA, and downloads PEFT's configuration if the repository has it beside
    /// the file.
    ///
    /// # Errors
    /// Like [`file`](Self::file).
    pub fn lora(&self, path: &Path) -> Result<PathBuf> {
        let file = self.file(path)?;
        let is_peft = path
            .file_name()
            .is_some_and(|name| name == "adapter_model.safetensors");
        if is_peft
            && let Err(error) = self.file(&path.with_file_name("adapter_config.json"))
            && !is_absent(&error)
        {
            return Err(error);
        }
        Ok(file)
    }

    #[cfg(feature = "hub")]
    fn download(&self, repository: &str, file: Option<&str>) -> Result<PathBuf> {
        let mut repository = ovis_image::hub::HubRepo::from_env(repository)?;
        if self.offline {
            repository = repository.with_offline(true);
        }
        if let Some(cache) = &self.hub_cache {
            repository = repository.with_cache(cache);
        }
        if let Some(endpoint) = &self.hub_endpoint {
            repository = repository.with_endpoint(endpoint);
        }
        let bar = crate::shared::progress::BytesBar::new();
        let show = |progress: ovis_image::hub::HubProgress<'_>| {
            let (place, files) = (progress.index + 1, progress.files);
            let what = format!("{} ({place} of {files})", Printable(progress.file));
            bar.show(what, progress.received, progress.total);
        };
        Ok(match file {
            Some(file) => repository.download_file(file, show)?,
            None => repository.download_with(show)?,
        })
    }

    #[cfg(not(feature = "hub"))]
    fn download(&self, repository: &str, _file: Option<&str>) -> Result<PathBuf> {
        anyhow::bail!(
            "`{repository}` is not a local path, and this program was built without downloads: build it with \
             `--features hub`"
        )
    }
}

/// Returns whether the error says that a repository does not have a file.
#[cfg(feature = "hub")]
fn is_absent(error: &anyhow::Error) -> bool {
    use ovis_image::OvisImageError::Hub;
    use ovis_image::error::HubError;
    use ovis_image::error::HubFailure::{NoSuchFile, NotCached};
    matches!(
        error.downcast_ref(),
        Some(Hub(HubError {
            failure: NoSuchFile { .. } | NotCached,
            ..
        }))
    )
}

#[cfg(not(feature = "hub"))]
fn is_absent(_error: &anyhow::Error) -> bool {
    false
}

/// Returns whether a path is marked as a file or repository of the Hub.
pub fn is_marked(path: &Path) -> bool {
    path.to_str().is_some_and(|text| text.starts_with(PREFIX))
}

/// Returns the `owner/name[@revision]` in a path, unless the path exists.
pub fn repository_in(path: &Path) -> Option<String> {
    let text = path.to_str()?;
    if let Some(repository) = text.strip_prefix(PREFIX) {
        return Some(repository.to_owned());
    }
    let (owner, name) = text.split_once('/')?;
    let local = owner.is_empty() || owner.starts_with(['.', '~']) || path.exists();
    let name = name.split_once('@').map_or(name, |(name, _)| name);
    (!local && !name.is_empty() && !name.contains('/')).then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_is_a_path_or_a_repository() {
        for (path, repository) in [
            ("AIDC-AI/Ovis-Image-7B", Some("AIDC-AI/Ovis-Image-7B")),
            ("a/b@refs/pr/1", Some("a/b@refs/pr/1")),
            ("hf:a/b", Some("a/b")),
            ("./a/b", None),
            ("/a/b", None),
            ("~/a", None),
            ("a", None),
            ("a/", None),
            ("a/b/c", None),
        ] {
            assert_eq!(
                repository_in(Path::new(path)).as_deref(),
                repository,
                "{path}"
            );
        }
    }

    #[test]
    fn what_is_not_marked_as_the_hubs_is_a_local_file() {
        let hub = HubArguments::default();
        let path = Path::new("no/such/file.gguf");
        assert_eq!(hub.file(path).unwrap(), path);
        for no_file in ["hf:owner/name", "hf:owner/name@refs/pr/1"] {
            assert!(hub.file(Path::new(no_file)).is_err());
        }
    }
}
