//! Transformer of a pipeline with its named LoRAs, whose scales may change between requests and
//! which may be merged into the weights.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use burn::module::Param;
use burn::tensor::Tensor;
use burn::tensor::backend::Backend;

use crate::checkpoint::{Checkpoint, TransformerFiles, check_dtype};
use crate::config::WeightDtype;
use crate::error::{OvisImageError, Result};
use crate::kernels::BackendInfo;
use crate::lora::{self, ActiveLora, LoraFile, LoraReport};
use crate::request::LoadOptions;
use crate::tensor_file::FilesInUse;
use crate::transformer::OvisImageTransformer;
use crate::weights::{LoadedModel, Residency};

/// Result of merging LoRAs: numbers of layers with merged and with separate adapters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct MergeReport {
    /// Number of layers whose weights now contain the updates.
    pub merged: usize,
    /// Number of layers whose weights are read on each use, so that their adapters stay separate.
    pub beside: usize,
}

/// Transformer with the LoRAs attached to it.
#[derive(Debug, Clone)]
pub(crate) struct AdaptedTransformer<B: Backend> {
    model: OvisImageTransformer<B>,
    dtype: WeightDtype,
    device: B::Device,
    /// Whether the modulation's weights are read on each use and then freed.
    modulation_is_absent: bool,
    /// Attached LoRAs, in the order in which they were loaded.
    loras: Vec<ActiveLora>,
    /// Original weights of the merged layers; `None` if nothing is merged.
    originals: Option<Originals<B>>,
    /// Files to read the original weights from; `None` if they did not come from a checkpoint.
    files: Option<Arc<TransformerFiles>>,
    files_in_use: FilesInUse,
}

/// Source of the original weights of merged layers.
#[derive(Debug, Clone)]
enum Originals<B: Backend> {
    /// The checkpoint, from which they are read again.
    InFiles(Arc<TransformerFiles>, BTreeSet<String>),
    /// Memory, because the transformer did not come from the checkpoint.
    Kept(BTreeMap<String, Param<Tensor<B, 2>>>),
}

impl<B: Backend> OvisImageTransformer<B> {
    /// Reads the transformer of a checkpoint alone, without text encoder and VAE.
    ///
    /// # Errors
    /// Returns the errors of reading the weights, or
    /// [`DeviceError::UnsupportedDtype`](crate::error::DeviceError::UnsupportedDtype).
    pub fn from_checkpoint(
        checkpoint: &Checkpoint,
        options: &LoadOptions,
        device: &B::Device,
    ) -> Result<Self> {
        check_dtype::<B>(options.dtype, device)?;
        let in_place = options.in_place && BackendInfo::of::<B>(device).computes_in_place;
        let loaded = AdaptedTransformer::load(checkpoint, options, in_place, device)?;
        Ok(loaded.model)
    }
}

impl<B: Backend> AdaptedTransformer<B> {
    /// Reads a checkpoint's transformer.
    pub(crate) fn load(
        checkpoint: &Checkpoint,
        options: &LoadOptions,
        in_place: bool,
        device: &B::Device,
    ) -> Result<Self> {
        let files = TransformerFiles::new(checkpoint, options.dtype, in_place);
        let LoadedModel {
            mut model,
            files: files_in_use,
            ..
        } = files.load(device, |stored| {
            options.transformer_placement(files.config(), stored)
        })?;
        model.stream_absent_weights();
        Ok(Self {
            modulation_is_absent: model.modulation_is_absent(),
            files: Some(Arc::new(files)),
            files_in_use: FilesInUse::new(files_in_use),
            ..Self::new(model, options.dtype, device)
        })
    }

    /// Wraps a transformer that did not come from a checkpoint and whose weights have this dtype.
    pub(crate) fn new(
        model: OvisImageTransformer<B>,
        dtype: WeightDtype,
        device: &B::Device,
    ) -> Self {
        Self {
            model,
            dtype,
            device: device.clone(),
            // Absent weights are initialized at random here, differently in every copy.
            modulation_is_absent: false,
            loras: Vec::new(),
            originals: None,
            files: None,
            files_in_use: FilesInUse::default(),
        }
    }

    /// Checks that no file in use was shortened or overwritten.
    pub(crate) fn check_files(&self) -> Result<()> {
        self.files_in_use.check()
    }

    pub(crate) fn model(&self) -> &OvisImageTransformer<B> {
        &self.model
    }

    pub(crate) fn dtype(&self) -> WeightDtype {
        self.dtype
    }

    /// Whether the modulation's weights are read on each use and then freed.
    pub(crate) fn modulation_is_absent(&self) -> bool {
        self.modulation_is_absent
    }

    pub(crate) fn loras(&self) -> &[ActiveLora] {
        &self.loras
    }

    pub(crate) fn load_lora(
        &mut self,
        name: String,
        file: &LoraFile,
        scale: f32,
    ) -> Result<LoraReport> {
        check_scale(scale)?;
        if self.loras.iter().any(|lora| lora.name == name) {
            return Err(OvisImageError::argument(
                "name",
                format!("a LoRA named `{name}` is already loaded: choose another name"),
            ));
        }
        self.change_adapters(|transformer| {
            let report = lora::attach_lora(
                &mut transformer.model,
                file,
                &name,
                scale,
                transformer.dtype,
                &transformer.device,
            )?;
            transformer.loras.push(ActiveLora { name, scale });
            Ok(report)
        })
    }

    pub(crate) fn set_lora_scale(&mut self, name: &str, scale: f32) -> Result<()> {
        check_scale(scale)?;
        let index = self.lora_index(name)?;
        self.change_adapters(|transformer| {
            lora::set_lora_scale(&mut transformer.model, name, scale);
            transformer.loras[index].scale = scale;
            Ok(())
        })
    }

    pub(crate) fn unload_lora(&mut self, name: &str) -> Result<()> {
        let index = self.lora_index(name)?;
        self.change_adapters(|transformer| {
            lora::detach_lora(&mut transformer.model, name);
            transformer.loras.remove(index);
            Ok(())
        })
    }

    pub(crate) fn merge_loras(&mut self) -> Result<MergeReport> {
        self.unmerge_loras()?;
        let mut report = MergeReport {
            merged: 0,
            beside: 0,
        };
        let mut kept = BTreeMap::new();
        for (path, layer) in self.model.linear_layers_mut() {
            if layer.adapters.is_empty() {
                continue;
            }
            if !layer.weight.is_initialized() {
                report.beside += 1;
                continue;
            }
            let merged = Param::initialized(layer.weight.id, layer.merged_weight());
            let original = std::mem::replace(&mut layer.weight, merged);
            layer.adapters_are_merged = true;
            report.merged += 1;
            // Originals that can be read again are freed at once.
            let original = self.files.is_none().then_some(original);
            kept.insert(path, original);
        }
        self.originals = Some(match &self.files {
            Some(files) => Originals::InFiles(Arc::clone(files), kept.into_keys().collect()),
            None => Originals::Kept(
                kept.into_iter()
                    .filter_map(|(path, original)| Some((path, original?)))
                    .collect(),
            ),
        });
        tracing::info!(
            merged = report.merged,
            beside = report.beside,
            "LoRAs merged"
        );
        Ok(report)
    }

    pub(crate) fn unmerge_loras(&mut self) -> Result<()> {
        let mut originals = match self.originals.take() {
            None => return Ok(()),
            Some(Originals::Kept(originals)) => originals,
            Some(Originals::InFiles(files, merged)) => match self.read_again(&files, &merged) {
                Ok(originals) => originals,
                Err(error) => {
                    self.originals = Some(Originals::InFiles(files, merged));
                    return Err(error);
                }
            },
        };
        for (path, layer) in self.model.linear_layers_mut() {
            if let Some(original) = originals.remove(&path) {
                layer.weight = original;
                layer.adapters_are_merged = false;
            }
        }
        Ok(())
    }

    /// Reads the original weights of some layers again.
    fn read_again(
        &self,
        files: &TransformerFiles,
        layers: &BTreeSet<String>,
    ) -> Result<BTreeMap<String, Param<Tensor<B, 2>>>> {
        let read = files.load::<B>(&self.device, |stored| {
            let layer = stored.parameter.path.strip_suffix(".weight");
            if layer.is_some_and(|layer| layers.contains(layer)) {
                Residency::Device
            } else {
                // Never used.
                Residency::File
            }
        })?;
        let mut read = read.model;
        Ok(read
            .linear_layers_mut()
            .into_iter()
            .filter(|(path, _)| layers.contains(path))
            .map(|(path, layer)| (path, layer.weight.clone()))
            .collect())
    }

    /// Changes the attached LoRAs, and merges them again if they were merged.
    fn change_adapters<T>(&mut self, change: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        let merged = self.originals.is_some();
        self.unmerge_loras()?;
        let changed = change(self);
        if merged {
            self.merge_loras()?;
        }
        changed
    }

    fn lora_index(&self, name: &str) -> Result<usize> {
        let found = self.loras.iter().position(|lora| lora.name == name);
        found.ok_or_else(|| {
            let names: Vec<&str> = self.loras.iter().map(|lora| lora.name.as_str()).collect();
            OvisImageError::argument(
                "name",
                format!("no LoRA named `{name}` is loaded; the loaded ones are {names:?}"),
            )
        })
    }
}

fn check_scale(scale: f32) -> Result<()> {
    if scale.is_finite() {
        return Ok(());
    }
    Err(OvisImageError::argument(
        "scale",
        format!("{scale} is not a finite number"),
    ))
}
