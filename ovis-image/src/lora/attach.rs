use burn::module::Param;
use burn::tensor::backend::Backend;
use burn::tensor::{Tensor, s};

use super::LoraReport;
use super::file::{LoraFile, LoraModule};
use super::targets::{Target, Targets};
use crate::config::WeightDtype;
use crate::error::{LoraError, Result};
use crate::layers::{LinearLayer, LowRankAdapter};
use crate::transformer::OvisImageTransformer;

/// Attaches a LoRA to the layers that it has modules for, in addition to any that are attached
/// already.
///
/// `name` identifies it from now on; `dtype` is the model's. Weights are neither changed nor read.
///
/// # Errors
/// Returns, before anything is attached, [`LoraError::Shape`] with the first tensor that does not
/// fit the model, [`LoraError::NotApplied`] if the model has none of the modules, or
/// [`CheckpointError::InvalidFile`](crate::error::CheckpointError::InvalidFile) if values are not
/// finite.
pub fn attach_lora<B: Backend>(
    transformer: &mut OvisImageTransformer<B>,
    lora: &LoraFile,
    name: &str,
    scale: f32,
    dtype: WeightDtype,
    device: &B::Device,
) -> Result<LoraReport> {
    let dtype = dtype.to_burn();
    let mut layers = transformer.linear_layers_mut();
    let shapes: Vec<(String, [usize; 2])> = layers
        .iter()
        .map(|(path, layer)| (path.clone(), layer.weight.lazy_shape().dims()))
        .collect();
    let targets = Targets::new(&shapes);
    let matched = match_modules(lora, &targets, &shapes)?;

    let mut adapters = Vec::new();
    let mut bytes = 0;
    for (module, targets) in &matched.modules {
        let upload = |tensor: &str| -> Result<Tensor<B, 2>> {
            Ok(Tensor::from_data(lora.read(tensor)?, (device, dtype)))
        };
        let (down, up) = (upload(&module.down)?, upload(&module.up)?);
        bytes += ((down.shape().num_elements() + up.shape().num_elements()) * dtype.size()) as u64;
        for Target { layer, share } in *targets {
            let up = if share.theirs.len() == share.module_rows {
                up.clone()
            } else {
                up.clone().slice(s![share.theirs.clone(), ..])
            };
            adapters.push((
                *layer,
                LowRankAdapter {
                    down: Param::from_tensor(down.clone()),
                    up: Param::from_tensor(up),
                    first_row: share.ours.start,
                    scaling: module.scaling,
                    scale,
                    name: name.to_owned(),
                },
            ));
        }
    }
    adapters.sort_by_key(|(layer, adapter)| (*layer, adapter.first_row));
    for (layer, adapter) in adapters {
        layers[layer].1.adapters.push(adapter);
    }

    let report = LoraReport {
        applied: matched.modules.len(),
        modules: lora.modules().len(),
        unmatched: matched.unmatched,
        bytes,
    };
    tracing::info!(lora = %lora.path().display(), name, "{report}");
    if !report.unmatched.is_empty() {
        tracing::warn!(lora = %lora.path().display(), modules = ?report.unmatched, "modules of the LoRA are not in this model");
    }
    Ok(report)
}

/// Detaches a LoRA from every layer; returns the number of layers that it was attached to.
pub fn detach_lora<B: Backend>(transformer: &mut OvisImageTransformer<B>, name: &str) -> usize {
    for_each_adapted(transformer, |layer| {
        let before = layer.adapters.len();
        layer.adapters.retain(|adapter| adapter.name != name);
        layer.adapters.len() < before
    })
}

/// Sets the strength of a LoRA; returns the number of layers that it is attached to.
pub fn set_lora_scale<B: Backend>(
    transformer: &mut OvisImageTransformer<B>,
    name: &str,
    scale: f32,
) -> usize {
    for_each_adapted(transformer, |layer| {
        let mut changed = false;
        let adapters = layer.adapters.iter_mut();
        for adapter in adapters.filter(|adapter| adapter.name == name) {
            adapter.scale = scale;
            changed = true;
        }
        changed
    })
}

fn for_each_adapted<B: Backend>(
    transformer: &mut OvisImageTransformer<B>,
    change: impl Fn(&mut LinearLayer<B>) -> bool,
) -> usize {
    let layers = transformer.linear_layers_mut();
    let changed = layers.into_iter().map(|(_, layer)| change(layer));
    changed.filter(|changed| *changed).count()
}

pub(super) struct Matched<'a> {
    pub(super) modules: Vec<(&'a LoraModule, &'a [Target])>,
    pub(super) unmatched: Vec<String>,
}

/// Finds every module's target and compares shapes, without reading data.
pub(super) fn match_modules<'a>(
    lora: &'a LoraFile,
    targets: &'a Targets,
    layers: &[(String, [usize; 2])],
) -> Result<Matched<'a>> {
    let mut matched = Matched {
        modules: Vec::new(),
        unmatched: Vec::new(),
    };
    for (name, module) in lora.entries() {
        let Some(parts) = targets.of(name) else {
            matched.unmatched.push(name.to_owned());
            continue;
        };
        for Target { layer, share } in parts {
            let (down, up) = (lora.shape(&module.down), lora.shape(&module.up));
            let rank = down[0];
            let [_, input] = layers[*layer].1;
            let needed = [
                (&module.down, down, [rank, input]),
                (&module.up, up, [share.module_rows, rank]),
            ];
            if let Some((tensor, actual, expected)) = needed
                .into_iter()
                .find(|(_, actual, expected)| actual != expected)
            {
                return Err(LoraError::Shape {
                    path: lora.path().to_owned(),
                    tensor: tensor.clone(),
                    expected: expected.to_vec(),
                    actual: actual.to_vec(),
                }
                .into());
            }
        }
        matched.modules.push((module, parts));
    }
    if matched.modules.is_empty() {
        return Err(LoraError::NotApplied {
            path: lora.path().to_owned(),
            modules: matched.unmatched.len(),
            example: matched.unmatched.into_iter().next().unwrap_or_default(),
        }
        .into());
    }
    Ok(matched)
}
