//! The modules that a LoRA can adapt, by diffusers' names, and the rows of our layers that they
//! are.

use std::collections::BTreeMap;
use std::ops::Range;

use burn::tensor::backend::Backend;

use crate::transformer::OvisImageTransformer;
use crate::weights::{NameTable, TransformerNaming};

/// Linear module of a transformer that a LoRA can adapt.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct AdaptableModule {
    /// Name in diffusers' naming, for example `transformer_blocks.0.attn.to_q`.
    pub name: String,
    /// Number of output features.
    pub output: usize,
    /// Number of input features.
    pub input: usize,
    /// Parts of our layers that it is made of, in the order of its rows.
    pub(crate) parts: Vec<ModulePart>,
}

/// Rows of a module that are rows of one of our layers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ModulePart {
    /// Index of the layer in [`OvisImageTransformer::linear_layers_mut`].
    pub(crate) layer: usize,
    /// Path of the layer.
    pub(crate) path: String,
    /// Range of the rows in the module.
    pub(crate) theirs: Range<usize>,
    /// First of the rows in the layer.
    pub(crate) first_row: usize,
}

/// Lists the modules of a transformer that a LoRA can adapt, by name.
pub fn adaptable_modules<B: Backend>(
    transformer: &OvisImageTransformer<B>,
) -> Vec<AdaptableModule> {
    modules_of(&layer_shapes(transformer))
}

/// Returns path and `[out, in]` of each linear layer, without reading weights.
pub(crate) fn layer_shapes<B: Backend>(
    transformer: &OvisImageTransformer<B>,
) -> Vec<(String, [usize; 2])> {
    let mut copy = transformer.clone();
    let layers = copy.linear_layers_mut().into_iter();
    layers
        .map(|(path, layer)| (path, layer.weight.lazy_shape().dims()))
        .collect()
}

fn modules_of(layers: &[(String, [usize; 2])]) -> Vec<AdaptableModule> {
    let table = NameTable::transformer(TransformerNaming::Diffusers);
    let mut modules: BTreeMap<String, AdaptableModule> = BTreeMap::new();
    for (layer, (path, shape)) in layers.iter().enumerate() {
        for share in table.row_shares(path, *shape) {
            let module = modules.entry(share.module.clone());
            let module = module.or_insert_with(|| AdaptableModule {
                name: share.module,
                output: share.module_rows,
                input: shape[1],
                parts: Vec::new(),
            });
            module.parts.push(ModulePart {
                layer,
                path: path.clone(),
                theirs: share.theirs,
                first_row: share.ours.start,
            });
        }
    }
    let mut modules: Vec<AdaptableModule> = modules.into_values().collect();
    for module in &mut modules {
        module.parts.sort_by_key(|part| part.theirs.start);
    }
    modules
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::TransformerConfig;
    use crate::testing::TestBackend;

    #[test]
    fn modules_are_those_of_diffusers_and_their_parts_are_all_of_their_rows() {
        let config = TransformerConfig::tiny();
        let model = config.init::<TestBackend>(&Default::default());
        let modules = adaptable_modules(&model);
        assert_eq!(
            modules.len(),
            14 * config.num_layers + 6 * config.num_single_layers + 6
        );
        for module in &modules {
            let mut rows = 0;
            for part in &module.parts {
                assert_eq!(part.theirs.start, rows, "{}", module.name);
                rows = part.theirs.end;
            }
            assert_eq!(rows, module.output, "{}", module.name);
        }
        let halves = modules.iter().find(|module| module.parts.len() == 2);
        assert!(halves.is_some_and(
            |module| module.name.ends_with("net.0.proj") || module.name == "norm_out.linear"
        ));
    }
}
