//! Encodes what the cache does not have yet, and writes its list.

use std::collections::HashSet;
use std::fs::{self, File};
use std::path::Path;

use anyhow::{Context, Result, ensure};
use burn::tensor::backend::Backend;
use ovis_image::device::BackendVisitor;
use ovis_image::text_encoder::{PREFIX_TOKENS, PromptTokenizer};
use ovis_image::{Checkpoint, LoadOptions, OvisImagePipeline, WeightDtype};

use super::{Arguments, list};
use crate::manifest::LineWriter;
use crate::shared::output_file::remove_unfinished;
use crate::shared::program::say;
use crate::shared::progress::CountBar;
use crate::shared::record::hashes::sha256;
use crate::shared::terminal::shown;
use crate::shared::{input_file, usage::UsageError};
use crate::training_data::cache::{
    Description, FILE_NAME, ModelHashes, ShardWriter, Shards, VERSION, embedding_key, latents_key,
};
use crate::training_data::{DataError, DataRow, Encodings, Reading, read_manifest, upright};

/// Maximum size of an image file, in bytes.
const MOST_FILE_BYTES: u64 = 512 << 20;

/// Work of the step, which is done on a device.
#[derive(Debug)]
pub(super) struct CacheWork(pub(super) Arguments);

impl BackendVisitor for CacheWork {
    type Output = Result<()>;

    fn visit<B: Backend>(self, device: B::Device) -> Result<()> {
        let arguments = &self.0;
        let checkpoint = arguments.checkpoint()?;
        let rows = read_manifest(
            &arguments.manifest,
            &Reading {
                sizes: &arguments.sizes,
                languages: &arguments.languages,
                needs_captions: true,
                needs_images: true,
            },
        )?;
        check_sizes(&rows, &checkpoint)?;
        check_captions(&rows, &checkpoint, arguments.max_sequence_length)?;
        let folder = &arguments.output;
        let _lock = lock(folder)?;
        remove_unfinished(folder)?;
        let models = ModelHashes::of(&checkpoint).context("cannot hash the model's files")?;
        let dtype = arguments.dtype.to_string();
        let keys = keys(&rows, &models, &dtype)?;
        let empty_prompt = embedding_key("", &dtype, &models);
        let known = known(folder)?;
        let mut encoder = Encoder::<B> {
            checkpoint: &checkpoint,
            arguments,
            device,
            pipeline: None,
            known: HashSet::new(),
            writer: ShardWriter::new(folder, known.unused(&HashSet::new()).1),
        };
        let bar = CountBar::new("images", rows.len() as u64);
        encoder.text(&known, &empty_prompt, "")?;
        for (row, keys) in rows.iter().zip(&keys) {
            encoder.image(&known, &keys.latents, row)?;
            for ((_, caption), key) in row.captions.iter().zip(&keys.embeddings) {
                encoder.text(&known, key, caption)?;
            }
            bar.advance();
        }
        encoder.writer.write()?;
        let description = Description {
            ovis_image_cache: VERSION,
            models,
            dtype,
            empty_prompt,
            rows: rows.len() as u64,
        };
        let made = encoder.known.len();
        write_list(folder, &description, &rows, &keys)?;
        remove_unused(&known, &description, &keys);
        drop(bar);
        say(&format!(
            "{}: {} images; {made} encodings are new",
            shown(folder),
            rows.len()
        ));
        Ok(())
    }
}

/// Models that encode, read when the first encoding is missing.
struct Encoder<'a, B: Backend> {
    checkpoint: &'a Checkpoint,
    arguments: &'a Arguments,
    device: B::Device,
    pipeline: Option<OvisImagePipeline<B>>,
    /// Keys of this run.
    known: HashSet<String>,
    writer: ShardWriter,
}

impl<B: Backend> Encoder<'_, B> {
    /// Returns true if an encoding is neither known nor made by this run, which it then is.
    fn is_missing(&mut self, known: &Shards, key: &str) -> bool {
        known.get(key).is_none() && self.known.insert(key.to_owned())
    }

    fn pipeline(&mut self) -> Result<&OvisImagePipeline<B>> {
        if self.pipeline.is_none() {
            // The transformer stays in its file: it is not used.
            let options = LoadOptions::new()
                .with_dtype(self.arguments.dtype)
                .with_vae_dtype(WeightDtype::F32)
                .with_modulation_residency(ovis_image::Residency::File)
                .with_streamed_blocks(usize::MAX);
            let pipeline =
                OvisImagePipeline::from_checkpoint(self.checkpoint, options, &self.device)?;
            self.pipeline = Some(pipeline);
        }
        self.pipeline.as_ref().context("the models are not read")
    }

    fn image(&mut self, known: &Shards, key: &str, row: &DataRow) -> Result<()> {
        if !self.is_missing(known, key) {
            return Ok(());
        }
        let image = row.frame.apply(upright(row)?);
        let latents = self.pipeline()?.encode_image(&image)?;
        let [_, channels, height, width] = latents.dims();
        let values: Vec<f32> = latents.into_data().iter::<f32>().collect();
        let shape = vec![channels, height, width];
        self.writer.add(key.to_owned(), shape, &values, false)
    }

    /// Encodes a caption. The zero rows after its tokens are not stored.
    fn text(&mut self, known: &Shards, key: &str, caption: &str) -> Result<()> {
        if !self.is_missing(known, key) {
            return Ok(());
        }
        let rows = self.arguments.max_sequence_length;
        let pipeline = self.pipeline()?;
        let encoded = pipeline.encode_prompts_to(&[caption], rows)?;
        let tokens = encoded.tokens.first().map_or(0, |prompt| prompt.ids.len());
        // An encoding has a row at least.
        let tokens = tokens.saturating_sub(PREFIX_TOKENS).clamp(1, rows.max(1));
        let embeds = encoded.embeds.narrow(1, 0, tokens);
        let [_, _, hidden] = embeds.dims();
        let values: Vec<f32> = embeds.into_data().iter::<f32>().collect();
        let is_bf16 = self.arguments.dtype == WeightDtype::BF16;
        self.writer
            .add(key.to_owned(), vec![tokens, hidden], &values, is_bf16)
    }
}

/// Keys of all rows. Every image file is read, so that one that was changed is encoded again.
fn keys(rows: &[DataRow], models: &ModelHashes, dtype: &str) -> Result<Vec<Encodings>> {
    let mut all = Vec::with_capacity(rows.len());
    for row in rows {
        let bytes = input_file::read(&row.image, MOST_FILE_BYTES)
            .with_context(|| format!("cannot read the image {}", shown(&row.image)))?;
        let captions = row.captions.iter();
        all.push(Encodings {
            latents: latents_key(&sha256(&bytes), &row.frame, models),
            embeddings: captions
                .map(|(_, caption)| embedding_key(caption, dtype, models))
                .collect(),
        });
    }
    Ok(all)
}

fn lock(folder: &Path) -> Result<File> {
    fs::create_dir_all(folder)
        .with_context(|| format!("cannot create the folder {}", shown(folder)))?;
    let path = folder.join("lock");
    let file = File::create(&path).with_context(|| format!("cannot create {}", shown(&path)))?;
    file.try_lock().map_err(|_| {
        anyhow::anyhow!(
            "another process writes the cache {}: wait for it",
            shown(folder)
        )
    })?;
    Ok(file)
}

/// Opens the encodings of earlier runs. Files that are damaged are removed.
fn known(folder: &Path) -> Result<Shards> {
    let (known, damaged) = Shards::open(folder)?;
    for error in damaged {
        say(&format!("warning: {error}: its encodings are made again"));
        if let DataError::Cache { path, .. } = error {
            fs::remove_file(&path).with_context(|| format!("cannot remove {}", shown(&path)))?;
        }
    }
    Ok(known)
}

fn check_sizes(rows: &[DataRow], checkpoint: &Checkpoint) -> Result<()> {
    let multiple = 2 * checkpoint.vae_config().scale_factor() as u32;
    let odd = rows.iter().find(|row| {
        let sides = row.frame.bucket.iter();
        sides.clone().any(|side| !side.is_multiple_of(multiple))
    });
    odd.map_or(Ok(()), |row| {
        let [width, height] = row.frame.bucket;
        Err(UsageError(format!(
            "{} would be encoded with {width}x{height}, but both sides must be multiples of {multiple}: name sizes (--sizes), or run `dataset buckets`",
            row.name
        ))
        .into())
    })
}

fn check_captions(rows: &[DataRow], checkpoint: &Checkpoint, most: usize) -> Result<()> {
    let path = checkpoint.tokenizer_path();
    let tokenizer = PromptTokenizer::from_file(path.context("the model has no tokenizer")?)?;
    for (_, caption) in rows.iter().flat_map(|row| &row.captions) {
        let over = tokenizer.tokenize_to(caption, most)?.truncated;
        ensure!(
            over == 0,
            UsageError(format!(
                "a caption does not fit {most} text rows, {over} tokens are too many: raise --max-sequence-length. The caption: {caption}"
            ))
        );
    }
    Ok(())
}

fn write_list(
    folder: &Path,
    description: &Description,
    rows: &[DataRow],
    keys: &[Encodings],
) -> Result<()> {
    let mut writer = LineWriter::create(&folder.join(FILE_NAME))?;
    writer.write(description)?;
    for (row, keys) in rows.iter().zip(keys) {
        writer.write(&list::line(row, &keys.latents, &keys.embeddings))?;
    }
    Ok(writer.finish()?)
}

/// Removes files of earlier runs in which nothing is used anymore. That one remains does no harm.
fn remove_unused(known: &Shards, description: &Description, keys: &[Encodings]) {
    let used = keys
        .iter()
        .flat_map(|keys| keys.embeddings.iter().chain([&keys.latents]));
    let used: HashSet<String> = used.chain([&description.empty_prompt]).cloned().collect();
    for path in known.unused(&used).0 {
        let _ = fs::remove_file(path);
    }
}
