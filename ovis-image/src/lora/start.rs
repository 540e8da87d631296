//! Reading an adapter in order to train it further.

use burn::tensor::TensorData;
use burn::tensor::backend::Backend;

use super::attach::match_modules;
use super::file::LoraFile;
use super::modules::{AdaptableModule, adaptable_modules, layer_shapes};
use super::targets::{Target, Targets};
use crate::error::{LoraError, Result};
use crate::transformer::OvisImageTransformer;

/// Matrices of one module of an adapter, in f32.
#[derive(Debug)]
pub(crate) struct StartModule {
    /// Name in diffusers' naming.
    pub(crate) name: String,
    /// Down projection, `[rank, in]`.
    pub(crate) down: TensorData,
    /// Up projection, `[out, rank]`.
    pub(crate) up: TensorData,
    pub(crate) alpha: f64,
    /// True if alpha is divided by the root of the rank.
    pub(crate) rank_stabilized: bool,
}

/// Reads all modules of an adapter, in the order of diffusers' names.
///
/// # Errors
/// Returns the errors of [`attach_lora`](super::attach_lora), and [`LoraError::NotTrainable`] if
/// the model lacks a module, or splits it into several.
pub(crate) fn read_start<B: Backend>(
    lora: &LoraFile,
    transformer: &OvisImageTransformer<B>,
) -> Result<Vec<StartModule>> {
    let shapes = layer_shapes(transformer);
    let targets = Targets::new(&shapes);
    let matched = match_modules(lora, &targets, &shapes)?;
    let not_trainable = |module: &str| LoraError::NotTrainable {
        path: lora.path().to_owned(),
        module: module.to_owned(),
    };
    if let Some(unmatched) = matched.unmatched.first() {
        return Err(not_trainable(unmatched).into());
    }
    let known = adaptable_modules(transformer);
    let mut modules = Vec::new();
    for (module, targets) in matched.modules {
        let Some(found) = known.iter().find(|known| is_made_of(known, targets)) else {
            return Err(not_trainable(&module.down).into());
        };
        modules.push(StartModule {
            name: found.name.clone(),
            down: lora.read(&module.down)?,
            up: lora.read(&module.up)?,
            alpha: module.alpha,
            rank_stabilized: module.rank_stabilized,
        });
    }
    modules.sort_by(|a, b| a.name.cmp(&b.name));
    match modules.windows(2).find(|pair| pair[0].name == pair[1].name) {
        Some(pair) => Err(not_trainable(&pair[0].name).into()),
        None => Ok(modules),
    }
}

fn is_made_of(module: &AdaptableModule, targets: &[Target]) -> bool {
    module.parts.len() == targets.len()
        && targets.iter().all(|Target { layer, share }| {
            module.parts.iter().any(|part| {
                part.layer == *layer
                    && part.theirs == share.theirs
                    && part.first_row == share.ours.start
            })
        })
}
