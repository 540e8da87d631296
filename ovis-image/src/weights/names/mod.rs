//! Tables of the parameters' names in each naming scheme. A row gives one of our modules and the
//! pieces that its tensor is made of: whole tensors or halves, stacked along the first axis. `*`
//! stands for an index; `~` for the first index counted from the other end.

mod row_shares;
mod text_encoder;
mod transformer;
mod vae;

pub(crate) use row_shares::RowShare;

use Piece::{FirstHalf, SecondHalf, Square, Whole};

/// A part of a checkpoint's tensor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Piece<N> {
    /// The whole tensor.
    Whole(N),
    /// The whole tensor, with as many rows as columns and the size of every other square of the
    /// row.
    Square(N),
    /// The first half of the tensor's rows.
    FirstHalf(N),
    /// The second half of the tensor's rows.
    SecondHalf(N),
}

impl<N> Piece<N> {
    pub(crate) fn name(&self) -> &N {
        match self {
            Whole(name) | Square(name) | FirstHalf(name) | SecondHalf(name) => name,
        }
    }

    pub(crate) fn map<M>(&self, f: impl Fn(&N) -> M) -> Piece<M> {
        match self {
            Whole(name) => Whole(f(name)),
            Square(name) => Square(f(name)),
            FirstHalf(name) => FirstHalf(f(name)),
            SecondHalf(name) => SecondHalf(f(name)),
        }
    }
}

type Row = (&'static str, &'static [Piece<&'static str>]);

/// A naming scheme of one part of the model.
#[derive(Debug, Clone, Copy)]
pub struct NameTable {
    /// `None` where the names are the parameters' own paths.
    rows: Option<&'static [Row]>,
    /// Prefixes of keys that other programs put in the file and this model never reads.
    ignored_prefixes: &'static [&'static str],
    /// Prefixes that are dropped before a key is looked up; only the first match is dropped.
    strip_prefixes: &'static [&'static str],
    /// Other spellings: (ending or beginning, ours).
    aliases: &'static [Alias],
    /// Number of levels less one, for `~`.
    last_level: usize,
}

#[derive(Debug, Clone, Copy)]
enum Alias {
    Start(&'static str, &'static str),
    End(&'static str, &'static str),
}

/// The naming schemes of the transformer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum TransformerNaming {
    /// `transformer_blocks.…`.
    Diffusers,
    /// `double_blocks.…`; ComfyUI's files use these with a few other spellings.
    Authors,
    /// The parameters' own paths in the model, as burn-store saves them: `image_embedder.…`.
    Burn,
}

/// The naming schemes of the VAE.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum VaeNaming {
    /// `mid_block.resnets.…`.
    Diffusers,
    /// `mid.block_1.…`, as Black Forest Labs publishes it.
    Bfl,
    /// The parameters' own paths in the model, as burn-store saves them: `mid.resnet1.…`.
    Burn,
}

/// The naming schemes of the text encoder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum TextEncoderNaming {
    /// `layers.…`, with or without the prefixes that other programs add.
    Transformers,
    /// The parameters' own paths in the model, as burn-store saves them: `blocks.…`.
    Burn,
}

impl NameTable {
    /// Table of the parameters' own paths.
    const PATHS: Self = Self {
        rows: None,
        ignored_prefixes: &[],
        strip_prefixes: &[],
        aliases: &[],
        last_level: 0,
    };

    /// Returns the table of a transformer's naming.
    pub fn transformer(naming: TransformerNaming) -> Self {
        let (rows, aliases) = match naming {
            TransformerNaming::Diffusers => (transformer::TRANSFORMER_DIFFUSERS, &[][..]),
            TransformerNaming::Authors => (
                transformer::TRANSFORMER_AUTHORS,
                transformer::COMFYUI_ALIASES,
            ),
            TransformerNaming::Burn => return Self::PATHS,
        };
        Self {
            rows: Some(rows),
            strip_prefixes: transformer::TRANSFORMER_PREFIXES,
            aliases,
            ..Self::PATHS
        }
    }

    /// Returns the table of a naming of a VAE with `levels` levels.
    pub fn vae(naming: VaeNaming, levels: usize) -> Self {
        let rows = match naming {
            VaeNaming::Diffusers => vae::VAE_DIFFUSERS,
            VaeNaming::Bfl => vae::VAE_BFL,
            VaeNaming::Burn => return Self::PATHS,
        };
        Self {
            rows: Some(rows),
            strip_prefixes: vae::VAE_PREFIXES,
            last_level: levels.saturating_sub(1),
            ..Self::PATHS
        }
    }

    /// Returns the table of a text encoder's naming.
    pub fn text_encoder(naming: TextEncoderNaming) -> Self {
        match naming {
            TextEncoderNaming::Transformers => Self {
                rows: Some(text_encoder::TEXT_ENCODER),
                ignored_prefixes: text_encoder::TEXT_ENCODER_IGNORED,
                strip_prefixes: text_encoder::TEXT_ENCODER_PREFIXES,
                ..Self::PATHS
            },
            TextEncoderNaming::Burn => Self::PATHS,
        }
    }

    /// Returns a key as the rows spell it, or `None` if it is to be ignored.
    pub(crate) fn normalize(&self, key: &str) -> Option<String> {
        if self
            .ignored_prefixes
            .iter()
            .any(|prefix| key.starts_with(prefix))
        {
            return None;
        }
        let key = self
            .strip_prefixes
            .iter()
            .find_map(|prefix| key.strip_prefix(prefix))
            .unwrap_or(key);
        let renamed = self.aliases.iter().find_map(|alias| match alias {
            Alias::Start(theirs, ours) => {
                key.strip_prefix(theirs).map(|rest| format!("{ours}{rest}"))
            }
            Alias::End(theirs, ours) => {
                key.strip_suffix(theirs).map(|rest| format!("{rest}{ours}"))
            }
        });
        // A beginning and an ending can both apply: `txt_norm.scale`.
        match renamed {
            Some(renamed) => Some(
                self.aliases
                    .iter()
                    .find_map(|alias| match alias {
                        Alias::End(theirs, ours) => renamed
                            .strip_suffix(theirs)
                            .map(|rest| format!("{rest}{ours}")),
                        Alias::Start(..) => None,
                    })
                    .unwrap_or(renamed),
            ),
            None => Some(key.to_owned()),
        }
    }

    /// Returns the pieces of one of our parameters, or `None` for a path that is not in the table.
    pub(crate) fn pieces(&self, path: &str) -> Option<Vec<Piece<String>>> {
        let Some(rows) = self.rows else {
            return Some(vec![Whole(path.to_owned())]);
        };
        let (module, leaf) = match path.rsplit_once('.') {
            Some((module, leaf @ ("weight" | "bias"))) => (module, Some(leaf)),
            _ => (path, None),
        };
        let mut indices = Vec::new();
        let pattern: Vec<&str> = module
            .split('.')
            .map(|part| match part.parse::<usize>() {
                Ok(index) => {
                    indices.push(index);
                    "*"
                }
                Err(_) => part,
            })
            .collect();
        let pattern = pattern.join(".");
        let (_, pieces) = rows.iter().find(|(ours, _)| *ours == pattern)?;
        Some(
            pieces
                .iter()
                .map(|piece| piece.map(|template| self.fill(template, &indices, leaf)))
                .collect(),
        )
    }

    fn fill(&self, template: &str, indices: &[usize], leaf: Option<&str>) -> String {
        let mut indices = indices.iter();
        let parts: Vec<String> = template
            .split('.')
            .map(|part| match part {
                "*" => indices.next().copied().unwrap_or_default().to_string(),
                "~" => {
                    let index = indices.next().copied().unwrap_or_default();
                    self.last_level.saturating_sub(index).to_string()
                }
                _ => part.to_owned(),
            })
            .chain(leaf.map(str::to_owned))
            .collect();
        parts.join(".")
    }
}

/// Returns ComfyUI's name of a transformer tensor that is `name` in the authors' files.
pub(crate) fn comfyui_name(name: &str) -> String {
    let mut name = name.to_owned();
    for alias in transformer::COMFYUI_ALIASES {
        let renamed = match alias {
            Alias::Start(theirs, ours) => name
                .strip_prefix(ours)
                .map(|rest| format!("{theirs}{rest}")),
            Alias::End(theirs, ours) => name
                .strip_suffix(ours)
                .map(|rest| format!("{rest}{theirs}")),
        };
        name = renamed.unwrap_or(name);
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(table: NameTable, path: &str) -> Vec<String> {
        table
            .pieces(path)
            .unwrap()
            .iter()
            .map(|piece| piece.name().clone())
            .collect()
    }

    #[test]
    fn indices_and_leaves_carry_over() {
        let table = NameTable::transformer(TransformerNaming::Authors);
        assert_eq!(
            names(table, "double_blocks.3.image_attention.qkv.bias"),
            ["double_blocks.3.img_attn.qkv.bias"]
        );
        assert_eq!(
            names(
                NameTable::text_encoder(TextEncoderNaming::Transformers),
                "embedding"
            ),
            ["embed_tokens.weight"]
        );
    }

    #[test]
    fn diffusers_swaps_the_halves_of_the_last_modulation() {
        let table = NameTable::transformer(TransformerNaming::Diffusers);
        assert_eq!(
            table.pieces("final_layer.modulation.weight").unwrap(),
            [
                SecondHalf("norm_out.linear.weight".into()),
                FirstHalf("norm_out.linear.weight".into())
            ]
        );
    }

    #[test]
    fn bfl_counts_decoder_levels_from_the_pixels() {
        let table = NameTable::vae(VaeNaming::Bfl, 4);
        assert_eq!(
            names(table, "decoder.up_blocks.0.resnets.2.conv1.weight"),
            ["decoder.up.3.block.2.conv1.weight"]
        );
        assert_eq!(
            names(table, "decoder.up_blocks.2.upsample.bias"),
            ["decoder.up.1.upsample.conv.bias"]
        );
    }

    #[test]
    fn burns_names_are_the_paths_themselves() {
        let table = NameTable::vae(VaeNaming::Burn, 4);
        let path = "decoder.up_blocks.0.resnets.2.conv1.weight";
        assert_eq!(names(table, path), [path]);
        assert_eq!(table.normalize(path).unwrap(), path);
    }

    #[test]
    fn comfyui_spellings_become_the_authors() {
        let table = NameTable::transformer(TransformerNaming::Authors);
        let normal = |key| table.normalize(key).unwrap();
        assert_eq!(normal("txt_norm.scale"), "semantic_txt_norm.weight");
        assert_eq!(normal("txt_in.bias"), "semantic_txt_in.bias");
        assert_eq!(
            normal("model.diffusion_model.double_blocks.0.img_attn.norm.query_norm.scale"),
            "double_blocks.0.img_attn.norm.query_norm.weight"
        );
        assert_eq!(normal("img_in.weight"), "img_in.weight");
        for theirs in ["txt_norm.scale", "txt_in.bias", "img_in.weight"] {
            assert_eq!(comfyui_name(&normal(theirs)), theirs);
        }
    }

    #[test]
    fn vision_parts_and_the_head_are_ignored_and_nothing_else() {
        let table = NameTable::text_encoder(TextEncoderNaming::Transformers);
        for ignored in [
            "llm.lm_head.weight",
            "visual_tokenizer.head.0.weight",
            "vte.weight",
        ] {
            assert_eq!(table.normalize(ignored), None);
        }
        for kept in ["llm.model.norm.weight", "model.norm.weight", "norm.weight"] {
            assert_eq!(table.normalize(kept).unwrap(), "norm.weight");
        }
    }
}
