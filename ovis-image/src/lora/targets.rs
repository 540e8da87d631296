//! Mapping of a LoRA's modules, in any naming, to the rows of our layers.

use std::collections::HashMap;

use crate::weights::{NameTable, RowShare, TransformerNaming, comfyui_name};

/// A part of a module on one of our layers.
#[derive(Debug, Clone)]
pub(super) struct Target {
    /// Index of the layer.
    pub(super) layer: usize,
    pub(super) share: RowShare,
}

/// Finds the targets of modules by name.
pub(super) struct Targets {
    /// Targets by names with dots, and by names with underscores in their place, as kohya writes
    /// them.
    by_name: HashMap<String, Vec<Target>>,
    authors: NameTable,
}

impl Targets {
    /// Collects the targets of layers, given by path and `[out, in]`, in both namings.
    pub(super) fn new(layers: &[(String, [usize; 2])]) -> Self {
        let authors = NameTable::transformer(TransformerNaming::Authors);
        let diffusers = NameTable::transformer(TransformerNaming::Diffusers);
        let mut by_name: HashMap<String, Vec<Target>> = HashMap::new();
        for table in [&authors, &diffusers] {
            for (layer, (path, shape)) in layers.iter().enumerate() {
                for share in table.row_shares(path, *shape) {
                    // ComfyUI's spelling is found with underscores only here: it cannot be told
                    // from its parts.
                    let comfyui = comfyui_name(&format!("{}.weight", share.module));
                    let comfyui = comfyui.trim_end_matches(".weight");
                    let flat = [&share.module, comfyui].map(|name| name.replace('.', "_"));
                    let mut names = vec![share.module.clone()];
                    for name in flat {
                        if !names.contains(&name) {
                            names.push(name);
                        }
                    }
                    for name in names {
                        let share = share.clone();
                        by_name
                            .entry(name)
                            .or_default()
                            .push(Target { layer, share });
                    }
                }
            }
        }
        Self { by_name, authors }
    }

    /// Returns the parts of a module; `None` if the model does not have it.
    pub(super) fn of(&self, module: &str) -> Option<&[Target]> {
        if let Some(targets) = self.by_name.get(module) {
            return Some(targets);
        }
        // Try ComfyUI's spellings.
        let normal = self.authors.normalize(&format!("{module}.weight"))?;
        let normal = normal.strip_suffix(".weight")?;
        self.by_name.get(normal).map(Vec::as_slice)
    }
}
