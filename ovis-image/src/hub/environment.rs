//! Environment variables of Python's `huggingface_hub`.

use std::env;
use std::ffi::OsString;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::repository::HubRepo;
use crate::error::{OvisImageError, Result};

/// Values that mean true, in upper or lower case. Every other value means false.
const TRUE_VALUES: [&str; 4] = ["1", "ON", "YES", "TRUE"];

impl HubRepo {
    /// Like [`new`](Self::new), with defaults from the environment variables of Python's
    /// `huggingface_hub`. Values set afterwards (`with_cache`, …) take precedence.
    ///
    /// | variable | meaning |
    /// |---|---|
    /// | `HF_HUB_CACHE` | folder of the cache, else `$HF_HOME/hub` |
    /// | `HF_HOME` | folder of everything else, else `$XDG_CACHE_HOME/huggingface` or `~/.cache/huggingface` |
    /// | `HF_TOKEN` | token, else the contents of the file `HF_TOKEN_PATH` or `$HF_HOME/token` |
    /// | `HF_HUB_DISABLE_IMPLICIT_TOKEN` | `1`, `ON`, `YES` or `TRUE`: no token is sent |
    /// | `HF_ENDPOINT` | server, for example a mirror |
    /// | `HF_HUB_OFFLINE` | `1`, `ON`, `YES` or `TRUE`: only the cache is used |
    /// | `HF_HUB_DOWNLOAD_TIMEOUT` | seconds for [`with_read_timeout`](Self::with_read_timeout) |
    ///
    /// Unlike in Python, an empty variable counts as unset, and `$NAME` within a path is not
    /// expanded (a leading `~` is).
    ///
    /// # Errors
    /// Returns the errors of [`new`](Self::new),
    /// [`CheckpointError::Io`](crate::error::CheckpointError::Io) if the token's file exists and
    /// cannot be read, and
    /// [`RequestError::InvalidArgument`](crate::error::RequestError::InvalidArgument) if the
    /// timeout is not a number of seconds.
    pub fn from_env(id: impl Into<String>) -> Result<Self> {
        Self::from_variables(id, |name| env::var_os(name))
    }

    /// Like [`from_env`](Self::from_env), with a lookup function instead of the process's
    /// environment.
    fn from_variables(
        id: impl Into<String>,
        lookup: impl Fn(&str) -> Option<OsString>,
    ) -> Result<Self> {
        let variables = Variables(lookup);
        let offline = variables.is_true(&["HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"]);
        let mut repo = Self::new(id)?.with_offline(offline);
        if let Some(cache) = variables.cache() {
            repo = repo.with_cache(cache);
        }
        if let Some(endpoint) = variables.text(&["HF_ENDPOINT"]) {
            repo = repo.with_endpoint(endpoint);
        }
        if let Some(token) = variables.token()? {
            repo = repo.with_token(token);
        }
        if let Some(seconds) = variables.text(&["HF_HUB_DOWNLOAD_TIMEOUT"]) {
            let timeout = seconds.trim().parse().ok().filter(|seconds| *seconds > 0);
            let timeout = timeout.map(Duration::from_secs).ok_or_else(|| {
                let reason =
                    format!("HF_HUB_DOWNLOAD_TIMEOUT is `{seconds}`, not a number of seconds");
                OvisImageError::argument("read_timeout", reason)
            })?;
            repo = repo.with_read_timeout(timeout);
        }
        Ok(repo)
    }
}

/// Lookup of variables by name.
struct Variables<F>(F);

impl<F: Fn(&str) -> Option<OsString>> Variables<F> {
    /// First of the variables that is set and not empty.
    fn first(&self, names: &[&str]) -> Option<OsString> {
        let mut values = names.iter().filter_map(|name| (self.0)(name));
        values.find(|value| !value.is_empty())
    }

    fn text(&self, names: &[&str]) -> Option<String> {
        Some(self.first(names)?.to_string_lossy().into_owned())
    }

    fn is_true(&self, names: &[&str]) -> bool {
        let value = self.text(names).unwrap_or_default().to_ascii_uppercase();
        TRUE_VALUES.contains(&value.as_str())
    }

    fn path(&self, names: &[&str]) -> Option<PathBuf> {
        let path = PathBuf::from(self.first(names)?);
        Some(match (path.strip_prefix("~"), self.user_home()) {
            (Ok(rest), Some(home)) => home.join(rest),
            _ => path,
        })
    }

    fn user_home(&self) -> Option<PathBuf> {
        let name = if cfg!(windows) { "USERPROFILE" } else { "HOME" };
        self.first(&[name]).map(PathBuf::from)
    }

    /// Folder `HF_HOME`, or its default.
    fn hub_home(&self) -> Option<PathBuf> {
        let caches = || {
            let of_user = || Some(self.user_home()?.join(".cache"));
            self.path(&["XDG_CACHE_HOME"]).or_else(of_user)
        };
        let home = self.path(&["HF_HOME"]);
        home.or_else(|| Some(caches()?.join("huggingface")))
    }

    fn cache(&self) -> Option<PathBuf> {
        let cache = self.path(&["HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"]);
        cache.or_else(|| Some(self.hub_home()?.join("hub")))
    }

    fn token(&self) -> Result<Option<String>> {
        if self.is_true(&["HF_HUB_DISABLE_IMPLICIT_TOKEN"]) {
            return Ok(None);
        }
        if let Some(token) = self.text(&["HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"]) {
            return Ok(Some(token));
        }
        let by_home = || Some(self.hub_home()?.join("token"));
        let path = self.path(&["HF_TOKEN_PATH"]).or_else(by_home);
        path.map_or(Ok(None), |path| stored_token(&path))
    }
}

fn stored_token(path: &Path) -> Result<Option<String>> {
    match std::fs::read_to_string(path) {
        Ok(token) => Ok(Some(token)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(OvisImageError::io(path, error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(variables: &[(&str, &str)]) -> Result<HubRepo> {
        HubRepo::from_variables("a/b", |name| {
            let mut variables = variables.iter();
            variables
                .find(|(set, _)| *set == name)
                .map(|(_, value)| OsString::from(value))
        })
    }

    fn repo() -> HubRepo {
        HubRepo::new("a/b").unwrap()
    }

    #[test]
    fn nothing_set_is_the_default() {
        assert_eq!(read(&[]).unwrap(), repo());
    }

    #[test]
    #[cfg(unix)]
    fn the_cache_is_where_python_has_it() {
        let all = [
            ("HF_HUB_CACHE", "~/cache"),
            ("HUGGINGFACE_HUB_CACHE", "/older"),
            ("HF_HOME", "~/hf"),
            ("XDG_CACHE_HOME", "/xdg"),
            ("HOME", "/home/u"),
        ];
        for (set, cache) in [
            (&all[..], "/home/u/cache"),
            (&all[1..], "/older"),
            (&all[2..], "/home/u/hf/hub"),
            (&all[3..], "/xdg/huggingface/hub"),
            (&all[4..], "/home/u/.cache/huggingface/hub"),
            (
                &[("HF_HOME", ""), ("HOME", "/h")][..],
                "/h/.cache/huggingface/hub",
            ),
        ] {
            assert_eq!(read(set).unwrap(), repo().with_cache(cache), "{set:?}");
        }
    }

    #[test]
    fn offline_is_what_python_takes_for_yes() {
        for yes in ["1", "ON", "YES", "TRUE", "on", "True"] {
            assert!(
                read(&[("HF_HUB_OFFLINE", yes)]).unwrap().is_offline(),
                "{yes}"
            );
        }
        for no in ["0", "OFF", "NO", "FALSE", "", "2", "y"] {
            assert!(
                !read(&[("HF_HUB_OFFLINE", no)]).unwrap().is_offline(),
                "{no}"
            );
        }
        let empty = [("HF_HUB_OFFLINE", ""), ("TRANSFORMERS_OFFLINE", "1")];
        assert!(read(&empty).unwrap().is_offline());
    }

    #[test]
    fn the_token_is_the_variables_or_else_the_stored_one() {
        let home = tempfile::tempdir().unwrap();
        let home_path = home.path().to_str().unwrap();
        // The cache, which `HF_HOME` moves, is compared above.
        let read = |variables: &[(&str, &str)]| read(variables).map(|repo| repo.with_cache("c"));
        let expected = |token: &str| repo().with_token(token).with_cache("c");
        assert_eq!(read(&[("HF_HOME", home_path)]).unwrap(), expected(""));

        std::fs::write(home.path().join("token"), "stored\n").unwrap();
        let other = home.path().join("other");
        std::fs::write(&other, "other").unwrap();
        let all = [
            ("HF_TOKEN", "\r\n set \n"),
            ("HUGGING_FACE_HUB_TOKEN", "older"),
            ("HF_TOKEN_PATH", other.to_str().unwrap()),
            ("HF_HOME", home_path),
        ];
        for (first, token) in ["set", "older", "other", "stored"].iter().enumerate() {
            assert_eq!(read(&all[first..]).unwrap(), expected(token));
        }
        let disabled = [("HF_HUB_DISABLE_IMPLICIT_TOKEN", "1"), all[0], all[3]];
        assert_eq!(read(&disabled).unwrap(), expected(""));
        let folder = read(&[("HF_TOKEN_PATH", home_path)]);
        assert!(folder.unwrap_err().to_string().contains(home_path));
    }

    #[test]
    fn the_server_and_its_patience_are_read() {
        let repo = read(&[
            ("HF_ENDPOINT", "https://mirror/"),
            ("HF_HUB_DOWNLOAD_TIMEOUT", "7"),
        ]);
        let expected = HubRepo::new("a/b").unwrap().with_endpoint("https://mirror");
        let expected = expected.with_read_timeout(Duration::from_secs(7));
        assert_eq!(repo.unwrap(), expected);
        for wrong in ["0", "-1", "soon"] {
            let error = read(&[("HF_HUB_DOWNLOAD_TIMEOUT", wrong)]).unwrap_err();
            assert!(error.to_string().contains(wrong), "{error}");
        }
    }
}
