//! Effective settings from flags, file and defaults.

use anyhow::Result;
use serde_json::{Value, json};

use super::resolved::Resolved;
use super::settings::Settings;
use crate::shared::usage::UsageError;
use crate::training_data::CaptionLanguage;

impl Settings {
    /// Completes the flags from a file, and both with the defaults.
    ///
    /// # Errors
    /// Returns an error if a value has the wrong form.
    pub fn resolve(&self, file: &Self) -> Result<Resolved> {
        file.check_numbers()?;
        self.check_numbers()?;
        let mut values = serde_json::to_value(file)?;
        overlay(&mut values, serde_json::to_value(self)?);
        remove_absent(&mut values);
        complete_data(&mut values)?;
        let resolved: Resolved = serde_json::from_value(values)
            .map_err(|error| UsageError(format!("the settings are wrong: {error}")))?;
        resolved.check()?;
        Ok(resolved)
    }
}

/// Replaces values with the given ones.
fn overlay(values: &mut Value, given: Value) {
    let (Value::Object(values), Value::Object(given)) = (values, given) else {
        return;
    };
    for (key, value) in given {
        if is_absent(&value) {
            continue;
        }
        match values.get_mut(&key) {
            Some(table @ Value::Object(_)) => overlay(table, value),
            _ => {
                values.insert(key, value);
            }
        }
    }
}

/// Share of the images of `--data` that is held out by default.
const VALIDATION_SHARE: f64 = 0.02;

/// Gives the keys of data that is read their defaults, and refuses those of drawn images beside
/// them.
fn complete_data(values: &mut Value) -> Result<(), UsageError> {
    let given = |key: &str| values.get(key).is_some();
    if !given("data") {
        let unused = ["validation-share", "languages"];
        let unused = unused.into_iter().find(|key| given(key));
        return unused.map_or(Ok(()), |key| {
            Err(UsageError(format!(
                "--{key} is of images that are read: name them with --data"
            )))
        });
    }
    for key in ["preset", "fonts", "curriculum"] {
        if given(key) {
            return Err(UsageError(format!(
                "{key} is of drawn images, and --data names images to read: choose one of the two"
            )));
        }
    }
    if let Some(values) = values.as_object_mut() {
        let mut default = |key: &str, value: Value| {
            values.entry(key).or_insert(value);
        };
        default("sizes", json!([]));
        default("validation-share", json!(VALIDATION_SHARE));
        default("languages", json!(CaptionLanguage::ALL));
    }
    Ok(())
}

fn remove_absent(values: &mut Value) {
    if let Value::Object(values) = values {
        values.retain(|_, value| !is_absent(value));
    }
}

fn is_absent(value: &Value) -> bool {
    value.is_null() || value.as_array().is_some_and(Vec::is_empty)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_win_over_the_file_and_defaults_fill_the_rest() {
        let file = "output = 'run'\nfrom-configs = 'c'\nlearning-rate = 1e-3\nbatch-size = 4";
        let file: Settings = toml::from_str(file).unwrap();
        let flags = Settings {
            learning_rate: Some(2e-3),
            ..Settings::default()
        };
        let resolved = flags.resolve(&file).unwrap();
        assert_eq!((resolved.learning_rate, resolved.batch_size), (2e-3, 4));
        assert_eq!(resolved.adam_betas, [0.9, 0.95]);
    }

    #[test]
    fn data_excludes_what_is_drawn_and_has_defaults_of_its_own() {
        let resolve = |text: &str| {
            let file = format!("output = 'run'\nmodel = 'm'\n{text}");
            let file: Settings = toml::from_str(&file).unwrap();
            Settings::default().resolve(&file)
        };
        let read = resolve("data = 'd'").unwrap();
        assert_eq!((read.sizes.len(), read.validation_share), (0, Some(0.02)));
        assert_eq!(read.languages, CaptionLanguage::ALL);
        for (text, word) in [
            ("data = 'd'\npreset = 'plain'", "preset"),
            ("data = 'd'\n[[curriculum]]", "curriculum"),
            ("data = 'd'\nauxiliary-weight = 0.5", "--auxiliary-weight"),
            ("data = 'd'\nvalidation-share = 1.5", "--validation-share"),
            ("data = 'd'\nreplay = 'r'", "--replay"),
            ("languages = ['en']", "--languages"),
        ] {
            let error = resolve(text).unwrap_err().to_string();
            assert!(error.contains(word), "{text}: {error}");
        }
    }
}
