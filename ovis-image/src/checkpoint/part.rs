use std::sync::Arc;

use crate::config::{TextEncoderConfig, TransformerConfig, VaeConfig, WeightDtype};
use crate::error::Result;
use crate::parameters::Parameter;
use crate::tensor_file::TensorSource;
use crate::weights::{
    NameTable, PartWeights, Recipes, StoredParameter, find_recipes, stored_parameters,
};

/// A model of a checkpoint: its configuration, its tensors and their naming.
#[derive(Debug, Clone)]
pub(crate) struct Part<C> {
    pub(crate) config: C,
    pub(crate) source: Arc<TensorSource>,
    pub(crate) table: NameTable,
}

/// Configuration of a model that is part of a checkpoint.
pub(crate) trait PartConfig {
    /// Name of the model in errors.
    const PART: &'static str;

    /// Checks the relations between the sizes.
    fn check(&self) -> Result<()>;

    fn list_parameters(&self) -> Vec<Parameter>;
}

impl<C: PartConfig> Part<C> {
    /// Lists the model's parameters as the files store them.
    ///
    /// # Errors
    /// Returns the errors of loading the model, except that only headers and scales are read.
    pub(crate) fn stored_parameters(&self) -> Result<Vec<StoredParameter>> {
        stored_parameters(
            C::PART,
            &self.source,
            &self.table,
            &self.config.list_parameters(),
        )
    }

    /// Returns each parameter's recipe, by which it is made of the part's tensors.
    ///
    /// # Errors
    /// Returns the errors of [`stored_parameters`](Self::stored_parameters).
    pub(super) fn recipes(&self) -> Result<Recipes> {
        find_recipes(
            C::PART,
            &self.source,
            &self.table,
            &self.config.list_parameters(),
        )
    }

    /// Describes the model's weights, to be loaded in a dtype.
    pub(crate) fn weights(&self, dtype: WeightDtype, in_place: bool) -> PartWeights<'_> {
        PartWeights {
            part: C::PART,
            source: &self.source,
            table: &self.table,
            parameters: self.config.list_parameters(),
            dtype,
            in_place,
        }
    }
}

impl PartConfig for TextEncoderConfig {
    const PART: &'static str = "text encoder";

    fn check(&self) -> Result<()> {
        self.validate()
    }

    fn list_parameters(&self) -> Vec<Parameter> {
        self.parameters()
    }
}

impl PartConfig for TransformerConfig {
    const PART: &'static str = "transformer";

    fn check(&self) -> Result<()> {
        self.validate()
    }

    fn list_parameters(&self) -> Vec<Parameter> {
        self.parameters()
    }
}

impl PartConfig for VaeConfig {
    const PART: &'static str = "VAE";

    fn check(&self) -> Result<()> {
        self.validate()
    }

    fn list_parameters(&self) -> Vec<Parameter> {
        self.parameters()
    }
}
