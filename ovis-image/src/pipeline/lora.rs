//! LoRAs on a pipeline: by name, with scales that change between requests, merged if asked.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use burn::module::Param;
use burn::tensor::Tensor;
use burn::tensor::backend::Backend;
use serde::{Deserialize, Serialize};

use super::pretrained::{OvisImagePipeline, TransformerFiles};
use crate::error::{OvisImageError, Result};
use crate::lora::{self, LoraFile, LoraReport};
use crate::weights::Residency;

/// A LoRA that acts on a pipeline.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ActiveLora {
    /// What it is called.
    pub name: String,
    /// How strongly it acts.
    pub scale: f32,
}

/// What became of the layers that have adapters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct MergeReport {
    /// Their weights have the updates in them now.
    pub merged: usize,
    /// Their weights are read when used, so the adapters stay beside them.
    pub beside: usize,
}

/// Where the weights are that a merge replaced.
#[derive(Debug, Clone)]
pub(super) enum Originals<B: Backend> {
    /// In the checkpoint: they are read again.
    InFiles(Arc<TransformerFiles>, BTreeSet<String>),
    /// In memory, because the transformer is not the checkpoint's own.
    Kept(BTreeMap<String, Param<Tensor<B, 2>>>),
}

impl<B: Backend> OvisImagePipeline<B> {
    /// Adds a LoRA to the transformer under a name of its own; the request's images are made with
    /// all that are there. Clones of the pipeline that were made before do not have it.
    ///
    /// # Errors
    /// [`RequestError::InvalidArgument`](crate::error::RequestError::InvalidArgument) for
    /// a name that is taken or a scale that is not finite; those of
    /// [`attach_lora`](lora::attach_lora), and nothing is changed then.
    pub fn load_lora(
        &mut self,
        name: impl Into<String>,
        file: &LoraFile,
        scale: f32,
    ) -> Result<LoraReport> {
        let name = name.into();
        check_scale(scale)?;
        if self.loras.iter().any(|lora| lora.name == name) {
            return Err(OvisImageError::argument(
                "name",
                format!("a LoRA called `{name}` is already loaded"),
            ));
        }
        self.change_adapters(|pipeline| {
            let report = lora::attach_lora(
                &mut pipeline.transformer,
                file,
                &name,
                scale,
                pipeline.dtype.to_burn(),
                &pipeline.device,
            )?;
            pipeline.loras.push(ActiveLora { name, scale });
            Ok(report)
        })
    }

    /// Changes how strongly a LoRA acts from the next request on; 0 is off, and costs nothing.
    ///
    /// # Errors
    /// [`RequestError::InvalidArgument`](crate::error::RequestError::InvalidArgument) for
    /// an unknown name or a scale that is not finite.
    pub fn set_lora_scale(&mut self, name: &str, scale: f32) -> Result<()> {
        check_scale(scale)?;
        let index = self.lora_index(name)?;
        self.change_adapters(|pipeline| {
            lora::set_lora_scale(&mut pipeline.transformer, name, scale);
            pipeline.loras[index].scale = scale;
            Ok(())
        })
    }

    /// Takes a LoRA away.
    ///
    /// # Errors
    /// [`RequestError::InvalidArgument`](crate::error::RequestError::InvalidArgument) for
    /// an unknown name.
    pub fn unload_lora(&mut self, name: &str) -> Result<()> {
        let index = self.lora_index(name)?;
        self.change_adapters(|pipeline| {
            lora::detach_lora(&mut pipeline.transformer, name);
            pipeline.loras.remove(index);
            Ok(())
        })
    }

    /// The LoRAs that act, in the order in which they were loaded.
    pub fn loras(&self) -> &[ActiveLora] {
        &self.loras
    }

    /// Adds the updates to the weights, in f32 and rounded once: steps then cost what they cost
    /// without. Weights that are read when used (streamed, quantized) keep theirs beside them.
    ///
    /// Loading, unloading and scaling still work; each merges anew from the original weights.
    ///
    /// # Errors
    /// Those of reading the checkpoint again, if it was merged before.
    pub fn merge_loras(&mut self) -> Result<MergeReport> {
        self.unmerge_loras()?;
        let mut report = MergeReport {
            merged: 0,
            beside: 0,
        };
        let mut kept = BTreeMap::new();
        for (path, layer) in self.transformer.linear_layers_mut() {
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
            // Originals that can be read again are given back at once.
            let original = self.transformer_files.is_none().then_some(original);
            kept.insert(path, original);
        }
        self.originals = Some(match &self.transformer_files {
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

    /// Puts the original weights back, to the bit: from the checkpoint, which must still be there,
    /// or from memory when the transformer is not the checkpoint's own. The LoRAs go on acting
    /// beside them. Does nothing if nothing is merged.
    ///
    /// # Errors
    /// Those of reading the checkpoint again.
    pub fn unmerge_loras(&mut self) -> Result<()> {
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
        for (path, layer) in self.transformer.linear_layers_mut() {
            if let Some(original) = originals.remove(&path) {
                layer.weight = original;
                layer.adapters_are_merged = false;
            }
        }
        Ok(())
    }

    /// The weights of some layers, as they were loaded.
    fn read_again(
        &self,
        files: &TransformerFiles,
        layers: &BTreeSet<String>,
    ) -> Result<BTreeMap<String, Param<Tensor<B, 2>>>> {
        let read = files.load::<B>(&self.device, |stored| {
            let layer = stored.parameter.path.strip_suffix(".weight");
            match layer.is_some_and(|layer| layers.contains(layer)) {
                true => Residency::Device,
                // Never used.
                false => Residency::File,
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

    /// Changes what is attached; what was merged is merged anew.
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
                format!("no LoRA is called `{name}`; those loaded are {names:?}"),
            )
        })
    }
}

fn check_scale(scale: f32) -> Result<()> {
    match scale.is_finite() {
        true => Ok(()),
        false => Err(OvisImageError::argument(
            "scale",
            format!("{scale} is not a finite number"),
        )),
    }
}
