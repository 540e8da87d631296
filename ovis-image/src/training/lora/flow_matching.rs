use std::ops::Range;

use burn::module::Param;
use burn::tensor::backend::{AutodiffBackend, Backend};
use burn::tensor::{DType, Tensor};

use super::adapters::LoraAdapters;
use crate::error::{OvisImageError, Result};
use crate::layers::LowRankAdapter;
use crate::lora::{AdaptableModule, adaptable_modules};
use crate::training::module_update::{ADAPTERS, Trained};
use crate::training::{
    FlowMatching, FlowMatchingConfig, ImageBatch, ImageModels, LossTerms, Objective, Outcome,
    ParameterMap,
};
use crate::transformer::OvisImageTransformer;

/// Name of the adapters while a pass runs.
const NAME: &str = "trained";

/// Flow matching of adapters over a frozen transformer.
///
/// Adapters are trained in f32, and a pass uses them in the transformer's dtype.
#[derive(Debug, Clone)]
pub struct LoraFlowMatching<B: Backend> {
    flow_matching: FlowMatching,
    base: ImageModels<B>,
    modules: Vec<AdaptableModule>,
    /// Dtype of the transformer. A block's weights are not asked for it: they may be in a file.
    dtype: DType,
}

impl<B: Backend> LoraFlowMatching<B> {
    /// Creates the objective. Adapters that are attached to the transformer stay and are frozen.
    pub fn new(config: FlowMatchingConfig, base: OvisImageTransformer<B>) -> Self {
        Self {
            flow_matching: FlowMatching::new(config),
            modules: adaptable_modules(&base),
            dtype: base.image_embedder.weight.val().dtype(),
            base: ImageModels {
                transformer: base,
                text_encoder: None,
                auxiliary: None,
            },
        }
    }

    /// Returns the frozen transformer.
    pub fn base(&self) -> &OvisImageTransformer<B> {
        &self.base.transformer
    }

    /// Returns the transformer with adapters attached to it, as they act in a pass.
    ///
    /// # Errors
    /// Returns an error if the transformer lacks a module of the adapters.
    pub fn adapted(&self, adapters: &LoraAdapters<B>) -> Result<OvisImageTransformer<B>> {
        Ok(self.attach(adapters)?.0.transformer)
    }

    /// Attaches the adapters, those of each layer in the order of its rows.
    fn attach(&self, adapters: &LoraAdapters<B>) -> Result<(ImageModels<B>, Vec<Attached>)> {
        let mut models = self.base.clone();
        let mut places = self.places(adapters)?;
        let mut layers = models.transformer.linear_layers_mut();
        for place in &mut places {
            let module = &adapters.modules()[place.module];
            let (_, layer) = &mut layers[place.layer];
            let dtype = self.dtype;
            let up = module.up.val().slice([place.rows.clone()]);
            place.index = layer.adapters.len();
            layer.adapters.push(LowRankAdapter {
                down: Param::from_tensor(module.down.val().cast(dtype)),
                up: Param::from_tensor(up.cast(dtype)),
                first_row: place.first_row,
                scaling: module.scaling(),
                scale: 1.0,
                name: NAME.to_owned(),
            });
        }
        Ok((models, places))
    }

    fn places(&self, adapters: &LoraAdapters<B>) -> Result<Vec<Attached>> {
        let mut places = Vec::new();
        for (module, adapter) in adapters.modules().iter().enumerate() {
            let mut known = self.modules.iter();
            let Some(found) = known.find(|known| known.name == adapter.name) else {
                return Err(OvisImageError::argument(
                    "adapters",
                    format!("the transformer has no module `{}`", adapter.name),
                ));
            };
            places.extend(found.parts.iter().map(|part| Attached {
                module,
                layer: part.layer,
                path: part.path.clone(),
                rows: part.theirs.clone(),
                first_row: part.first_row,
                index: 0,
            }));
        }
        places.sort_by_key(|place| (place.layer, place.first_row));
        Ok(places)
    }
}

/// Part of an adapter on one layer.
#[derive(Debug)]
struct Attached {
    /// Index of the module in the adapters.
    module: usize,
    /// Index of the layer in the transformer.
    layer: usize,
    /// Path of the layer.
    path: String,
    /// Rows of the module.
    rows: Range<usize>,
    /// First row in the layer.
    first_row: usize,
    /// Index among the layer's adapters.
    index: usize,
}

/// Collects the gradients of the adapters' matrices. A module that is several layers of ours has
/// one down projection, whose gradients are added, and the rows of its up projection are joined.
fn collect<B: Backend>(
    mut gradients: ParameterMap<B>,
    mut places: Vec<Attached>,
    adapters: &LoraAdapters<B>,
) -> ParameterMap<B> {
    let mut found = ParameterMap::new();
    places.sort_by_key(|place| (place.module, place.rows.start));
    for parts in places.chunk_by(|a, b| a.module == b.module) {
        let name = &adapters.modules()[parts[0].module].name;
        let mut rows = Vec::new();
        for part in parts {
            let path = format!("transformer.{}.{ADAPTERS}.{}", part.path, part.index);
            if let Some(down) = gradients.remove(&format!("{path}.down")) {
                found.add(format!("{name}.down"), down);
            }
            rows.extend(gradients.remove(&format!("{path}.up")));
        }
        if rows.len() == parts.len() {
            found.insert(format!("{name}.up"), Tensor::cat(rows, 0));
        }
    }
    found
}

impl<A: AutodiffBackend> Objective<A> for LoraFlowMatching<A::InnerBackend> {
    type Models = LoraAdapters<A::InnerBackend>;
    type Batch = ImageBatch<A::InnerBackend>;

    fn gradients(
        &self,
        models: &Self::Models,
        batch: Self::Batch,
    ) -> Result<Outcome<A::InnerBackend>> {
        let (attached, places) = self.attach(models)?;
        let flow_matching = &self.flow_matching;
        let outcome = flow_matching.gradients_of::<A>(&attached, batch, Trained::Adapters)?;
        Ok(Outcome {
            terms: outcome.terms,
            gradients: collect(outcome.gradients, places, models),
        })
    }

    fn loss(&self, models: &Self::Models, batch: Self::Batch) -> Result<LossTerms> {
        let (attached, _) = self.attach(models)?;
        Objective::<A>::loss(&self.flow_matching, &attached, batch)
    }
}
