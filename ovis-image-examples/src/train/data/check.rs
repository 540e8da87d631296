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
                "--auxiliary-weight needs to know each character's place: it works with drawn images only"
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
                "a cache has no images: --stage autoencoder needs the manifest (--data)"
            ));
        }
        if !self.tag_changes().is_none() {
            bail!(UsageError::new(
                "a cache has the captions encoded as they are: --shuffle-tags and --tag-dropout need the images"
            ));
        }
        if self.train_text_encoder {
            bail!(UsageError::new(
                "a cache has what the text encoder made: --train-text-encoder needs the manifest (--data)"
            ));
        }
        Ok(())
    }

    /// Returns true if latents and embeddings are read from a cache, so that no model encodes.
    pub fn reads_cache(&self) -> bool {
        self.data.as_deref().is_some_and(is_cache)
    }
}
