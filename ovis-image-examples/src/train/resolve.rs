//! Effective settings from flags, file and defaults.

use anyhow::Result;
use serde_json::Value;

use super::resolved::Resolved;
use super::settings::Settings;
use crate::shared::usage::UsageError;

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
}
