//! Checks of the settings of data that is read.

use anyhow::{Result, bail};

use crate::shared::usage::UsageError;
use crate::train::resolved::Resolved;
use crate::train::settings::StageKind;
use crate::training_data::cache::is_cache;

impl Resolved {
    pub(in crate::train) fn check_data(&self) -> Result<()> {
        if !self.reads_images() {
            return Ok(());
        }
        self.check_cache()?;
        if self.data.is_some() && self.replay.is_some() {
            bail!(UsageError::new("--data and --replay exclude one another"));
        }
        if self.auxiliary_weight > 0.0 {
            bail!(UsageError::new(
                "--auxiliary-weight works with drawn images only, where the place of each character \
                 is known"
            ));
        }
        let share = self.validation_share.unwrap_or_default();
        if !(0.0..1.0).contains(&share) {
            bail!(UsageError(format!(
                "invalid --validation-share: {share} is not from 0 to below 1"
            )));
        }
        Ok(())
    }

    fn check_cache(&self) -> Result<()> {
        if !self.reads_cache() {
            return Ok(());
        }
        if self.stage == StageKind::Autoencoder {
            bail!(UsageError::new(
                "--stage autoencoder cannot be used with a cache, which has no images: name the \
                 manifest with --data instead"
            ));
        }
        let changes = [
            ("--shuffle-tags", self.shuffle_tags),
            ("--tag-dropout", self.tag_dropout.is_some()),
        ];
        if let Some((flag, _)) = changes.into_iter().find(|(_, given)| *given) {
            bail!(UsageError(format!(
                "{flag} cannot be used with a cache, which has encodings of unchanged captions: \
                 name the manifest with --data instead"
            )));
        }
        if self.train_text_encoder {
            bail!(UsageError::new(
                "--train-text-encoder cannot be used with a cache, which has the text encoder's \
                 outputs: name the manifest with --data instead"
            ));
        }
        Ok(())
    }

    /// Returns true if latents and embeddings are read from a cache, so that no model encodes.
    pub fn reads_cache(&self) -> bool {
        self.data.as_deref().is_some_and(is_cache)
    }
}
