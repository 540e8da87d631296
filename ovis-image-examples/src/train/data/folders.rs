//! Images in folders, without a manifest.

use anyhow::{Result, bail};

use crate::shared::aspect_buckets::Buckets;
use crate::shared::terminal::say;
use crate::shared::usage::UsageError;
use crate::train::resolved::Resolved;
use crate::train::settings::StageKind;
use crate::training_data::DataRow;
use crate::training_data::folders::{
    FolderReading, FolderRows, Masks, Sizes, TagChanges, read_folders,
};

/// Resolution below which sides of buckets are multiples of 16 pixels, and above of 64.
const FINE_BELOW: u32 = 256;

/// Reads the rows that the settings name, and says what they are.
pub(super) fn read(resolved: &Resolved) -> Result<Vec<DataRow>> {
    let named = resolved.buckets()?;
    let trigger = resolved.trigger();
    let run = resolved.folder();
    let FolderRows { rows, enlarged } = read_folders(&FolderReading {
        images: &resolved.images,
        regularization: &resolved.regularization_images,
        prior_weight: resolved.prior_weight.unwrap_or(1.0),
        trigger,
        needs_captions: resolved.stage == StageKind::Flow,
        sizes: if named.is_empty() {
            Sizes::Nearest(buckets(resolved.resolution.unwrap_or(DEFAULT_RESOLUTION)))
        } else {
            Sizes::Named(&named)
        },
        masks: match &resolved.masks {
            Some(folder) => Masks::Folder(folder),
            None if resolved.alpha_masks => Masks::Alpha,
            None => Masks::None,
        },
        run: &run,
    })?;
    if enlarged > 0 {
        say(&format!(
            "note: {enlarged} of {} images are smaller than their buckets and are enlarged; --resolution chooses smaller buckets",
            rows.len()
        ));
    }
    Ok(rows)
}

/// Side of a square image by default, in pixels.
const DEFAULT_RESOLUTION: u32 = 1024;

fn buckets(side: u32) -> Buckets {
    Buckets::new(side, if side < FINE_BELOW { 16 } else { 64 })
}

impl Resolved {
    /// Returns the changes to tags in captions.
    pub fn tag_changes(&self) -> TagChanges {
        TagChanges {
            shuffle: self.shuffle_tags,
            keep: self.keep_tags.unwrap_or_default(),
            dropout: self.tag_dropout.unwrap_or_default(),
            trigger: self.trigger().map(str::to_owned),
        }
    }

    /// Returns true if all images are encoded before the first step, after which the models that
    /// encode are dropped: there are not too many of them, and captions do not change.
    pub fn encodes_first(&self) -> bool {
        !self.images.is_empty() && self.tag_changes().is_none() && !self.train_text_encoder
    }

    fn trigger(&self) -> Option<&str> {
        let lora = self.lora.as_ref();
        lora.and_then(|lora| lora.trigger.as_deref())
    }

    /// Checks the settings of folders of images.
    pub(in crate::train) fn check_folders(&self) -> Result<()> {
        self.check_tags()?;
        if self.images.is_empty() {
            return Ok(());
        }
        self.check_stage_of_folders()?;
        self.check_folder_pairs()?;
        if self.prior_weight.is_some() && self.regularization_images.is_empty() {
            bail!(UsageError::new(
                "--prior-weight needs regularization images (--regularization-images)"
            ));
        }
        if self.masks.is_some() && self.images.len() > 1 {
            bail!(UsageError::new(
                "--masks works with a single folder of --images: put all images into one, in \
                 subfolders if you like"
            ));
        }
        if let Some(side) = self.resolution
            && !(32..=8192).contains(&side)
        {
            bail!(UsageError(format!(
                "invalid --resolution: {side} is not from 32 to 8192"
            )));
        }
        if let Some(weight) = self.prior_weight
            && !(0.0..=1e6).contains(&weight)
        {
            bail!(UsageError(format!(
                "invalid --prior-weight: {weight} is not from 0 to 1e6"
            )));
        }
        Ok(())
    }

    fn check_tags(&self) -> Result<()> {
        if let Some(share) = self.tag_dropout
            && !(0.0..=1.0).contains(&share)
        {
            bail!(UsageError(format!(
                "invalid --tag-dropout: {share} is not from 0 to 1"
            )));
        }
        if self.keep_tags.is_some() && self.tag_changes().is_none() {
            bail!(UsageError::new(
                "--keep-tags needs --shuffle-tags or --tag-dropout"
            ));
        }
        Ok(())
    }

    /// Refuses settings of the stage `flow` in the other one.
    fn check_stage_of_folders(&self) -> Result<()> {
        let given = [
            ("--masks", self.masks.is_some()),
            ("--alpha-masks", self.alpha_masks),
            (
                "--regularization-images",
                !self.regularization_images.is_empty(),
            ),
            ("--shuffle-tags", self.shuffle_tags),
            ("--tag-dropout", self.tag_dropout.is_some()),
        ];
        match given.into_iter().find(|(_, given)| *given) {
            Some((flag, _)) if self.stage == StageKind::Autoencoder => bail!(UsageError(format!(
                "{flag} has no effect in --stage autoencoder: leave it out"
            ))),
            _ => Ok(()),
        }
    }

    /// Refuses settings that exclude one another.
    fn check_folder_pairs(&self) -> Result<()> {
        let pairs = [
            ("--images", "--data", self.data.is_some()),
            ("--images", "--replay", self.replay.is_some()),
            (
                "--resolution",
                "--sizes",
                self.resolution.is_some() && !self.sizes.is_empty(),
            ),
            (
                "--masks",
                "--alpha-masks",
                self.masks.is_some() && self.alpha_masks,
            ),
        ];
        match pairs.into_iter().find(|(_, _, given)| *given) {
            Some((one, other, _)) => {
                bail!(UsageError(format!("{one} and {other} exclude one another")))
            }
            None => Ok(()),
        }
    }
}
