use burn::tensor::backend::Backend;
use serde::{Deserialize, Serialize};

use super::pattern::selects;
use crate::error::{LoraError, Result};
use crate::lora::{AdaptableModule, adaptable_modules};
use crate::transformer::OvisImageTransformer;

/// Selection, ranks and alphas of new adapters.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LoraConfig {
    /// Patterns of the adapted modules, by diffusers' names: a name, or the end of one from a dot
    /// on, in which `*` stands for any text.
    pub modules: Vec<String>,
    /// Number of columns of each up projection.
    pub rank: usize,
    /// Numerator of the factor of each update, whose denominator is the rank.
    pub alpha: f64,
    /// Divides alpha by the root of the rank instead of the rank (rsLoRA, arXiv 2312.03732).
    pub rank_stabilized: bool,
    /// Ranks and alphas of some modules. Of several that select a module, the first one counts.
    pub overrides: Vec<LoraOverride>,
}

/// Rank and alpha of the modules that a pattern selects.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LoraOverride {
    /// Pattern of the modules.
    pub modules: String,
    /// Their rank, if it differs.
    pub rank: Option<usize>,
    /// Their alpha, if it differs.
    pub alpha: Option<f64>,
}

impl Default for LoraConfig {
    /// Selects the attention and feed-forward layers of all blocks, 207 modules of the release.
    fn default() -> Self {
        let modules = [
            "transformer_blocks.*.attn.*",
            "transformer_blocks.*.ff.*",
            "transformer_blocks.*.ff_context.*",
            "single_transformer_blocks.*.attn.*",
            "single_transformer_blocks.*.proj_mlp",
            "single_transformer_blocks.*.proj_out",
        ];
        Self {
            modules: modules.map(str::to_owned).to_vec(),
            rank: 16,
            alpha: 16.0,
            rank_stabilized: false,
            overrides: Vec::new(),
        }
    }
}

/// Module that a configuration selects, with the sizes of its adapter.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct TargetModule {
    pub(super) module: AdaptableModule,
    pub(super) rank: usize,
    pub(super) alpha: f64,
}

impl LoraConfig {
    /// Selects the modules of a transformer.
    ///
    /// # Errors
    /// Returns [`LoraError::PatternMatchesNothing`], [`LoraError::ZeroRank`] or
    /// [`LoraError::InvalidAlpha`].
    pub(super) fn target_modules<B: Backend>(
        &self,
        transformer: &OvisImageTransformer<B>,
    ) -> Result<Vec<TargetModule>> {
        let known = adaptable_modules(transformer);
        let patterns = self.overrides.iter().map(|entry| &entry.modules);
        for pattern in self.modules.iter().chain(patterns) {
            if !known.iter().any(|module| selects(pattern, &module.name)) {
                let pattern = pattern.clone();
                return Err(LoraError::PatternMatchesNothing { pattern }.into());
            }
        }
        if self.modules.is_empty() {
            let pattern = String::new();
            return Err(LoraError::PatternMatchesNothing { pattern }.into());
        }
        let selected = |module: &AdaptableModule| {
            let mut patterns = self.modules.iter();
            patterns.any(|pattern| selects(pattern, &module.name))
        };
        let selected = known.into_iter().filter(selected);
        selected.map(|module| self.target(module)).collect()
    }

    fn target(&self, module: AdaptableModule) -> Result<TargetModule> {
        let mut overrides = self.overrides.iter();
        let entry = overrides.find(|entry| selects(&entry.modules, &module.name));
        let rank = entry.and_then(|entry| entry.rank).unwrap_or(self.rank);
        let alpha = entry.and_then(|entry| entry.alpha).unwrap_or(self.alpha);
        if rank == 0 {
            let module = module.name;
            return Err(LoraError::ZeroRank { module }.into());
        }
        if !alpha.is_finite() {
            let module = module.name;
            return Err(LoraError::InvalidAlpha { module, alpha }.into());
        }
        Ok(TargetModule {
            module,
            rank,
            alpha,
        })
    }
}
