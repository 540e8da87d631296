//! `dataset cache`: latents and prompt embeddings once, so that training needs neither images nor
//! the models that encode them.

mod list;
mod work;

use std::path::PathBuf;

use anyhow::{Result, bail};
use ovis_image::checkpoint::PartPaths;
use ovis_image::device::DeviceSpec;
use ovis_image::{Checkpoint, CheckpointPaths, WeightDtype};

use crate::shared::usage::UsageError;
use crate::training_data::CaptionLanguage;

use work::CacheWork;

/// Encodes images and captions once, for training.
///
/// Writes the latents and prompt embeddings of a manifest to a folder that train --data reads
/// without VAE and text encoder. What was encoded before and is still the same is not encoded
/// again; a killed run continues where it was.
#[derive(Debug, Clone, clap::Args)]
pub struct Arguments {
    /// Manifest, or its folder
    #[arg(value_name = "MANIFEST")]
    pub(super) manifest: PathBuf,
    /// Folder of the cache
    #[arg(short, long, value_name = "DIR")]
    pub(super) output: PathBuf,
    /// Checkpoint folder whose VAE and text encoder encode
    #[arg(short, long, value_name = "DIR")]
    model: PathBuf,
    /// VAE that replaces the model's: its folder, or a checkpoint folder
    #[arg(long, value_name = "DIR")]
    vae: Option<PathBuf>,
    /// Text encoder that replaces the model's: its folder, or a checkpoint folder
    #[arg(long, value_name = "DIR")]
    text_encoder: Option<PathBuf>,
    /// Sizes of the images [default: the buckets of the manifest, or the images' own sizes]
    #[arg(long, value_name = "WxH", value_delimiter = ',', value_parser = size)]
    pub(super) sizes: Vec<[u32; 2]>,
    /// Languages of captions
    #[arg(long, value_enum, value_delimiter = ',', default_value = "en,zh")]
    pub(super) languages: Vec<CaptionLanguage>,
    /// Maximum number of text rows of a caption
    #[arg(long, value_name = "N", default_value_t = 256)]
    pub(super) max_sequence_length: usize,
    /// Device, for example flex or cuda:0
    #[arg(long, default_value_t)]
    device: DeviceSpec,
    /// Precision of the text encoder: f32 or bf16
    #[arg(long, default_value = "f32")]
    pub(super) dtype: WeightDtype,
}

impl Arguments {
    /// Finds the models. Their weights are not read.
    pub(super) fn checkpoint(&self) -> Result<Checkpoint> {
        if self.dtype == WeightDtype::F16 {
            bail!(UsageError::new(
                "embeddings overflow in f16: encode in f32 or bf16 (--dtype)"
            ));
        }
        let part = |folder: &Option<PathBuf>, name: &str| {
            let folder = folder.as_ref()?;
            let inner = folder.join(name);
            Some(if inner.exists() {
                inner
            } else {
                folder.clone()
            })
        };
        let parts = PartPaths {
            vae: part(&self.vae, "vae"),
            text_encoder: part(&self.text_encoder, "text_encoder"),
            ..PartPaths::default()
        };
        let paths = CheckpointPaths::discover_with(&self.model, &parts)?;
        Ok(Checkpoint::open_paths(&paths)?)
    }
}

/// Encodes what the cache does not have yet.
///
/// # Errors
/// Returns an error if the manifest, the models or the images cannot be used, or the cache cannot be
/// written.
pub fn run(arguments: Arguments) -> Result<()> {
    let device = arguments.device.open()?;
    device.visit(CacheWork(arguments))
}

fn size(text: &str) -> Result<[u32; 2], String> {
    let sides = text.split_once('x');
    let sides = sides.and_then(|(width, height)| Some([width.parse().ok()?, height.parse().ok()?]));
    sides
        .filter(|sides: &[u32; 2]| sides.iter().all(|side| (1..=16_384).contains(side)))
        .ok_or_else(|| format!("`{text}` is not a size such as 1024x1024"))
}
