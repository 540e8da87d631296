//! Which of our layers' rows a module of a LoRA is, whatever it is called.

use std::collections::HashMap;

use crate::weights::{NameTable, RowShare, TransformerNaming};

/// A part of a module on one of our layers.
#[derive(Debug, Clone)]
pub(super) struct Target {
    /// Which of the layers.
    pub(super) layer: usize,
    pub(super) share: RowShare,
}

/// Finds modules by name.
pub(super) struct Targets {
    /// By names with dots, and by the same with underscores in their place, as kohya writes them.
    by_name: HashMap<String, Vec<Target>>,
    authors: NameTable,
}

impl Targets {
    /// Of layers given by path and `[out, in]`, in both namings.
    pub(super) fn new(layers: &[(String, [usize; 2])]) -> Self {
        let authors = NameTable::transformer(TransformerNaming::Authors);
        let diffusers = NameTable::transformer(TransformerNaming::Diffusers);
        let mut by_name: HashMap<String, Vec<Target>> = HashMap::new();
        for table in [&authors, &diffusers] {
            for (layer, (path, shape)) in layers.iter().enumerate() {
                for share in table.row_shares(path, *shape) {
                    let flat = share.module.replace('.', "_");
                    let mut names = vec![share.module.clone()];
                    if flat != share.module {
                        names.push(flat);
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

    /// The parts of a module; `None` for one that the model does not have.
    pub(super) fn of(&self, module: &str) -> Option<&[Target]> {
        if let Some(targets) = self.by_name.get(module) {
            return Some(targets);
        }
        // ComfyUI's spellings.
        let normal = self.authors.normalize(&format!("{module}.weight"))?;
        let normal = normal.strip_suffix(".weight")?;
        self.by_name.get(normal).map(Vec::as_slice)
    }
}
