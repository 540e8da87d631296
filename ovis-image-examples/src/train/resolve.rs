//! Effective settings from flags, file and defaults.

use anyhow::Result;
use serde_json::{Value, json};

use super::resolved::Resolved;
use super::settings::{OptimizerKind, Settings};
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
        check_optimizer(&values)?;
        complete_updates(&mut values);
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

/// Keys of folders of images.
const OF_FOLDERS: [&str; 6] = [
    "epochs",
    "regularization-images",
    "prior-weight",
    "resolution",
    "masks",
    "alpha-masks",
];

/// Beginnings of the names of devices that cannot train in bf16.
const NO_BF16: [&str; 4] = ["ndarray", "wgpu", "vulkan", "metal"];

/// Keys of all images that are read.
const OF_READ_IMAGES: [&str; 4] = [
    "validation-share",
    "shuffle-tags",
    "keep-tags",
    "tag-dropout",
];

/// Refuses constants of an optimizer that is not used.
fn check_optimizer(values: &Value) -> Result<(), UsageError> {
    let adafactor = values.get("optimizer") == Some(&json!(OptimizerKind::Adafactor));
    let (keys, theirs): (&[&str], &str) = if adafactor {
        (&["adam-betas", "adam-eps"], "AdamW")
    } else {
        (&["scale-parameter"], "Adafactor")
    };
    match keys.iter().find(|key| values.get(key).is_some()) {
        Some(key) => Err(UsageError(format!(
            "--{key} is for {theirs}, which is not the run's --optimizer: leave out one of the two"
        ))),
        None => Ok(()),
    }
}

/// Gives the keys that updates in the backward pass decide their defaults.
fn complete_updates(values: &mut Value) {
    let fused = values.get("fused-update") == Some(&json!(true));
    if let Some(values) = values.as_object_mut().filter(|_| fused) {
        values.entry("max-grad-norm").or_insert(json!(0.0));
        values.entry("recompute").or_insert(json!("blocks"));
    }
}

/// Gives the keys of data that is read their defaults, and refuses those of drawn images beside
/// them.
fn complete_data(values: &mut Value) -> Result<(), UsageError> {
    let given = |key: &str| values.get(key).is_some();
    let (data, images) = (given("data"), given("images"));
    let unused = |keys: &[&'static str]| keys.iter().copied().find(|key| given(key));
    if !images && let Some(key) = unused(&OF_FOLDERS) {
        return Err(UsageError(format!(
            "--{key} needs a folder of images (--images)"
        )));
    }
    if !data && let Some(key) = unused(&["languages"]) {
        return Err(UsageError(format!(
            "--{key} needs a manifest with captions (--data)"
        )));
    }
    if !data && !images {
        return unused(&OF_READ_IMAGES).map_or(Ok(()), |key| {
            Err(UsageError(format!(
                "--{key} needs images that are read (--data or --images)"
            )))
        });
    }
    if let Some(key) = unused(&["preset", "fonts", "curriculum"]) {
        return Err(UsageError(format!(
            "{key} is for drawn images, but --{} names images to read: leave out one of the two",
            if data { "data" } else { "images" }
        )));
    }
    if given("steps") && given("epochs") {
        return Err(UsageError::new("--steps and --epochs exclude one another"));
    }
    let adapts = given("lora");
    let device = values
        .get("device")
        .and_then(Value::as_str)
        .unwrap_or_default();
    let half = !NO_BF16.iter().any(|name| device.starts_with(name));
    if let Some(values) = values.as_object_mut() {
        let mut default = |key: &str, value: Value| {
            values.entry(key).or_insert(value);
        };
        default("sizes", json!([]));
        if images {
            // Few images, of several shapes: a batch has images of one shape only.
            default("batch-size", json!(1));
            default("validation-share", json!(0.0));
            if adapts {
                // For one card of 24 GB.
                default("recompute", json!("blocks"));
                default("dtype", json!(if half { "bf16" } else { "f32" }));
            }
        } else {
            default("validation-share", json!(VALIDATION_SHARE));
            default("languages", json!(CaptionLanguage::ALL));
        }
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
    use crate::train::settings::RecomputeKind;

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
    fn constants_of_another_optimizer_are_refused() {
        for (text, word) in [
            ("scale-parameter = true", "--scale-parameter"),
            (
                "optimizer = 'adamw8bit'\nscale-parameter = false",
                "Adafactor",
            ),
            (
                "optimizer = 'adafactor'\nadam-betas = [0.9, 0.99]",
                "--adam-betas",
            ),
            ("optimizer = 'adafactor'\nadam-eps = 1e-8", "--adam-eps"),
        ] {
            let file = format!("output = 'run'\nmodel = 'm'\n{text}");
            let file: Settings = toml::from_str(&file).unwrap();
            let error = Settings::default().resolve(&file).unwrap_err().to_string();
            assert!(error.contains(word), "{text}: {error}");
        }
    }

    #[test]
    fn updates_in_the_backward_pass_have_defaults_and_exclude_what_needs_all_gradients() {
        let resolve = |text: &str| {
            let file = format!("output = 'run'\nmodel = 'm'\nfused-update = true\n{text}");
            let file: Settings = toml::from_str(&file).unwrap();
            Settings::default().resolve(&file)
        };
        let fused = resolve("dtype = 'bf16'\nmaster-weights = false").unwrap();
        assert_eq!(
            (fused.max_grad_norm, fused.recompute),
            (0.0, RecomputeKind::Blocks)
        );
        for (text, words) in [
            ("max-grad-norm = 1.0", ["--max-grad-norm", "--fused-update"]),
            ("spike-factor = 9.0", ["--spike-factor", "--fused-update"]),
            ("accumulation = 2", ["--accumulation", "--fused-update"]),
            ("stage = 'autoencoder'", ["--fused-update", "--stage flow"]),
            ("[lora]\nrank = 2", ["--fused-update", "adapters"]),
            (
                "master-weights = false",
                ["--master-weights", "--dtype bf16"],
            ),
        ] {
            let error = resolve(text).unwrap_err().to_string();
            let named = words.iter().all(|word| error.contains(word));
            assert!(named, "{text}: {error}");
        }
    }

    #[test]
    fn folders_have_defaults_and_mistakes_of_their_own() {
        let resolve = |text: &str| {
            let file = format!("output = 'run'\nmodel = 'm'\n{text}");
            let file: Settings = toml::from_str(&file).unwrap();
            Settings::default().resolve(&file)
        };
        let read = resolve("images = ['a', 'b:2']\nshuffle-tags = true").unwrap();
        assert_eq!((read.sizes.len(), read.batch_size), (0, 1));
        assert_eq!(
            (read.validation_share, read.images[1].weight),
            (Some(0.0), 2.0)
        );
        assert!(read.tag_changes().shuffle);
        assert_eq!(
            (read.dtype.as_str(), read.recompute),
            ("f32", RecomputeKind::None)
        );
        let adapters = resolve("images = ['a']\n[lora]\nrank = 2").unwrap();
        assert_eq!(
            (adapters.dtype.as_str(), adapters.recompute),
            ("bf16", RecomputeKind::Blocks)
        );
        let gpu = resolve("images = ['a']\ndevice = 'wgpu'\n[lora]\nrank = 2").unwrap();
        assert_eq!(gpu.dtype, "f32");
        for (text, word) in [
            ("images = ['d']\ndata = 'd'", "--images"),
            ("images = ['d']\nfonts = ['a']", "fonts"),
            ("images = ['d']\nlanguages = ['en']", "--languages"),
            ("images = ['d']\nresolution = 7", "--resolution"),
            (
                "images = ['d']\nresolution = 64\nsizes = ['64x64']",
                "--sizes",
            ),
            ("images = ['d']\nmasks = 'm'\nalpha-masks = true", "--masks"),
            ("images = ['d']\ntag-dropout = 2", "--tag-dropout"),
            ("data = 'd'\ntag-dropout = 2", "--tag-dropout"),
            ("images = ['d']\nkeep-tags = 2", "--keep-tags"),
            (
                "images = ['d']\nprior-weight = 1",
                "--regularization-images",
            ),
            (
                "images = ['d']\nregularization-images = ['r']\nprior-weight = -1",
                "--prior-weight",
            ),
            ("images = ['d', 'e']\nmasks = 'm'", "--masks"),
            (
                "images = ['d']\nstage = 'autoencoder'\nalpha-masks = true",
                "--alpha-masks",
            ),
            ("images = ['d']\nsteps = 1\nepochs = 1", "--epochs"),
            ("images = ['d']\npatience = 1", "--validation-share"),
            ("patience = 1\nvalidate-every = 0", "--validate-every"),
            ("images = ['d']\n[lora]\ntrigger = ' '", "--trigger"),
            ("masks = 'm'", "--images"),
            ("shuffle-tags = true", "--data or --images"),
        ] {
            let error = resolve(text).unwrap_err().to_string();
            assert!(error.contains(word), "{text}: {error}");
        }
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
