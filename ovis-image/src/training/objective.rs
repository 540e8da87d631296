use std::collections::BTreeMap;

use burn::module::Module;
use burn::tensor::backend::AutodiffBackend;

use super::{ParameterMap, ParameterUpdate};
use crate::error::Result;

/// Training objective: computes a loss and gradients from a batch and models.
pub trait Objective<B: AutodiffBackend>: Send {
    /// Models whose parameters are trained. Frozen ones belong to the objective.
    type Models: Module<B::InnerBackend>;
    /// Input of one micro-step.
    type Batch;

    /// Computes the loss of a batch and the gradients of all trained parameters.
    ///
    /// # Errors
    /// Returns an error if the batch does not fit the models.
    fn gradients(
        &self,
        models: &Self::Models,
        batch: Self::Batch,
    ) -> Result<Outcome<B::InnerBackend>>;

    /// Computes the loss of a batch, and updates each part of the models as soon as its gradients are
    /// known, so that only those of one part exist at a time. The parameters are the same as with
    /// all gradients at once, which is what an objective without parts computes.
    ///
    /// # Errors
    /// Returns the models with the errors of [`gradients`](Self::gradients).
    fn update_by_part(
        &self,
        models: Self::Models,
        batch: Self::Batch,
        update: &mut ParameterUpdate<'_, B::InnerBackend>,
    ) -> (Self::Models, Result<LossTerms>) {
        update_at_once::<B, Self>(self, models, batch, update)
    }

    /// Computes the loss of a batch alone, for validation.
    ///
    /// # Errors
    /// Returns the errors of [`gradients`](Self::gradients).
    fn loss(&self, models: &Self::Models, batch: Self::Batch) -> Result<LossTerms>;
}

/// Computes all gradients, and then updates the models.
pub(super) fn update_at_once<A: AutodiffBackend, O: Objective<A> + ?Sized>(
    objective: &O,
    models: O::Models,
    batch: O::Batch,
    update: &mut ParameterUpdate<'_, A::InnerBackend>,
) -> (O::Models, Result<LossTerms>) {
    match objective.gradients(&models, batch) {
        Ok(Outcome { terms, gradients }) => (update.apply("", models, gradients), Ok(terms)),
        Err(error) => (models, Err(error)),
    }
}

/// Losses by name. Training minimizes the one called `loss`.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct LossTerms(pub BTreeMap<&'static str, f64>);

impl LossTerms {
    /// Name of the loss that is minimized.
    pub const LOSS: &str = "loss";

    /// Creates terms from names and values.
    pub fn new(terms: impl IntoIterator<Item = (&'static str, f64)>) -> Self {
        Self(terms.into_iter().collect())
    }

    /// Returns the loss that is minimized.
    pub fn loss(&self) -> f64 {
        self.0.get(Self::LOSS).copied().unwrap_or(f64::NAN)
    }

    /// Adds a share of other terms, for the mean over micro-steps.
    pub(crate) fn add_share(&mut self, other: &Self, share: f64) {
        for (name, value) in &other.0 {
            *self.0.entry(name).or_default() += share * value;
        }
    }
}

/// Losses and gradients of one batch.
///
/// The struct is exhaustive, so that custom objectives can create it.
#[derive(Debug)]
pub struct Outcome<B: burn::tensor::backend::Backend> {
    /// Losses.
    pub terms: LossTerms,
    /// Gradients of the trained parameters, by path in the models.
    pub gradients: ParameterMap<B>,
}
