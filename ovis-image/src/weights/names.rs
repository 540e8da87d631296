//! What each naming scheme calls our parameters, as tables. A row gives one of our modules and the
//! pieces that its tensor is made of: whole tensors or halves, stacked along the first axis. `*`
//! stands for an index; `~` for the first index counted from the other end.

use Piece::{FirstHalf, SecondHalf, Square, Whole};

/// A part of a checkpoint's tensor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Piece<N> {
    /// All of it.
    Whole(N),
    /// All of it; as many rows as columns, and as every other square of the row.
    Square(N),
    /// The first half of its rows.
    FirstHalf(N),
    /// The second half of its rows.
    SecondHalf(N),
}

impl<N> Piece<N> {
    pub(super) fn name(&self) -> &N {
        match self {
            Whole(name) | Square(name) | FirstHalf(name) | SecondHalf(name) => name,
        }
    }

    pub(super) fn map<M>(&self, f: impl Fn(&N) -> M) -> Piece<M> {
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
    rows: &'static [Row],
    /// Keys that other programs put in the file and this model never reads.
    ignored_prefixes: &'static [&'static str],
    /// Beginnings of keys that are dropped before looking a key up, the first that fits.
    strip_prefixes: &'static [&'static str],
    /// Other spellings: (ending or beginning, ours).
    aliases: &'static [Alias],
    /// For `~`: the number of levels less one.
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
    /// `double_blocks.…`; ComfyUI's files are these with a few other spellings.
    Authors,
}

/// The naming schemes of the VAE.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum VaeNaming {
    /// `mid_block.resnets.…`.
    Diffusers,
    /// `mid.block_1.…`, as Black Forest Labs publish it.
    Bfl,
}

impl NameTable {
    /// The table of a transformer's naming.
    pub fn transformer(naming: TransformerNaming) -> Self {
        Self {
            rows: match naming {
                TransformerNaming::Diffusers => TRANSFORMER_DIFFUSERS,
                TransformerNaming::Authors => TRANSFORMER_AUTHORS,
            },
            ignored_prefixes: &[],
            strip_prefixes: TRANSFORMER_PREFIXES,
            aliases: match naming {
                TransformerNaming::Diffusers => &[],
                TransformerNaming::Authors => COMFYUI_ALIASES,
            },
            last_level: 0,
        }
    }

    /// The table of a VAE's naming with `levels` levels.
    pub fn vae(naming: VaeNaming, levels: usize) -> Self {
        Self {
            rows: match naming {
                VaeNaming::Diffusers => VAE_DIFFUSERS,
                VaeNaming::Bfl => VAE_BFL,
            },
            ignored_prefixes: &[],
            strip_prefixes: VAE_PREFIXES,
            aliases: &[],
            last_level: levels.saturating_sub(1),
        }
    }

    /// The table of the text encoder.
    pub fn text_encoder() -> Self {
        Self {
            rows: TEXT_ENCODER,
            ignored_prefixes: TEXT_ENCODER_IGNORED,
            strip_prefixes: TEXT_ENCODER_PREFIXES,
            aliases: &[],
            last_level: 0,
        }
    }

    /// A key as the rows spell it, or `None` when it is to be ignored.
    pub(super) fn normalise(&self, key: &str) -> Option<String> {
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
        // A start and an end can both apply: `txt_norm.scale`.
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

    /// The pieces of one of our parameters, or `None` for a path that the table lacks.
    pub(super) fn pieces(&self, path: &str) -> Option<Vec<Piece<String>>> {
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
        let (_, pieces) = self.rows.iter().find(|(ours, _)| *ours == pattern)?;
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

const TRANSFORMER_PREFIXES: &[&str] = &["model.diffusion_model.", "diffusion_model."];
const VAE_PREFIXES: &[&str] = &["first_stage_model.", "vae."];
const TEXT_ENCODER_PREFIXES: &[&str] = &["llm.model.", "model."];

/// The output head, and the vision parts of Ovis2.5, which text-to-image never reads.
const TEXT_ENCODER_IGNORED: &[&str] = &[
    "llm.lm_head.",
    "lm_head.",
    "model.lm_head.",
    "visual_tokenizer.",
    "model.visual_tokenizer.",
    "vte.",
    "model.vte.",
    "visual.",
    "model.visual.",
];

/// ComfyUI's spellings of the authors' names.
const COMFYUI_ALIASES: &[Alias] = &[
    Alias::Start("txt_norm.", "semantic_txt_norm."),
    Alias::Start("txt_in.", "semantic_txt_in."),
    Alias::End("norm.scale", "norm.weight"),
];

const TRANSFORMER_AUTHORS: &[Row] = &[
    ("image_embedder", &[Whole("img_in")]),
    ("text_norm", &[Whole("semantic_txt_norm")]),
    ("text_embedder", &[Whole("semantic_txt_in")]),
    ("timestep_embedder.input", &[Whole("time_in.in_layer")]),
    ("timestep_embedder.output", &[Whole("time_in.out_layer")]),
    (
        "double_blocks.*.image_modulation.linear",
        &[Whole("double_blocks.*.img_mod.lin")],
    ),
    (
        "double_blocks.*.text_modulation.linear",
        &[Whole("double_blocks.*.txt_mod.lin")],
    ),
    (
        "double_blocks.*.image_attention.qkv",
        &[Whole("double_blocks.*.img_attn.qkv")],
    ),
    (
        "double_blocks.*.image_attention.qk_norm.query",
        &[Whole("double_blocks.*.img_attn.norm.query_norm")],
    ),
    (
        "double_blocks.*.image_attention.qk_norm.key",
        &[Whole("double_blocks.*.img_attn.norm.key_norm")],
    ),
    (
        "double_blocks.*.image_attention.output",
        &[Whole("double_blocks.*.img_attn.proj")],
    ),
    (
        "double_blocks.*.text_attention.qkv",
        &[Whole("double_blocks.*.txt_attn.qkv")],
    ),
    (
        "double_blocks.*.text_attention.qk_norm.query",
        &[Whole("double_blocks.*.txt_attn.norm.query_norm")],
    ),
    (
        "double_blocks.*.text_attention.qk_norm.key",
        &[Whole("double_blocks.*.txt_attn.norm.key_norm")],
    ),
    (
        "double_blocks.*.text_attention.output",
        &[Whole("double_blocks.*.txt_attn.proj")],
    ),
    (
        "double_blocks.*.image_feed_forward.gate",
        &[Whole("double_blocks.*.img_mlp.gate_proj")],
    ),
    (
        "double_blocks.*.image_feed_forward.up",
        &[Whole("double_blocks.*.img_mlp.up_proj")],
    ),
    (
        "double_blocks.*.image_feed_forward.down",
        &[Whole("double_blocks.*.img_mlp.down_proj")],
    ),
    (
        "double_blocks.*.text_feed_forward.gate",
        &[Whole("double_blocks.*.txt_mlp.gate_proj")],
    ),
    (
        "double_blocks.*.text_feed_forward.up",
        &[Whole("double_blocks.*.txt_mlp.up_proj")],
    ),
    (
        "double_blocks.*.text_feed_forward.down",
        &[Whole("double_blocks.*.txt_mlp.down_proj")],
    ),
    (
        "single_blocks.*.modulation.linear",
        &[Whole("single_blocks.*.modulation.lin")],
    ),
    (
        "single_blocks.*.qkv_mlp",
        &[Whole("single_blocks.*.linear1")],
    ),
    (
        "single_blocks.*.qk_norm.query",
        &[Whole("single_blocks.*.norm.query_norm")],
    ),
    (
        "single_blocks.*.qk_norm.key",
        &[Whole("single_blocks.*.norm.key_norm")],
    ),
    (
        "single_blocks.*.output",
        &[Whole("single_blocks.*.linear2")],
    ),
    (
        "final_layer.modulation",
        &[Whole("final_layer.adaLN_modulation.1")],
    ),
    ("final_layer.output", &[Whole("final_layer.linear")]),
];

const TRANSFORMER_DIFFUSERS: &[Row] = &[
    ("image_embedder", &[Whole("x_embedder")]),
    ("text_norm", &[Whole("context_embedder_norm")]),
    ("text_embedder", &[Whole("context_embedder")]),
    (
        "timestep_embedder.input",
        &[Whole("timestep_embedder.linear_1")],
    ),
    (
        "timestep_embedder.output",
        &[Whole("timestep_embedder.linear_2")],
    ),
    (
        "double_blocks.*.image_modulation.linear",
        &[Whole("transformer_blocks.*.norm1.linear")],
    ),
    (
        "double_blocks.*.text_modulation.linear",
        &[Whole("transformer_blocks.*.norm1_context.linear")],
    ),
    (
        "double_blocks.*.image_attention.qkv",
        &[
            Square("transformer_blocks.*.attn.to_q"),
            Square("transformer_blocks.*.attn.to_k"),
            Square("transformer_blocks.*.attn.to_v"),
        ],
    ),
    (
        "double_blocks.*.image_attention.qk_norm.query",
        &[Whole("transformer_blocks.*.attn.norm_q")],
    ),
    (
        "double_blocks.*.image_attention.qk_norm.key",
        &[Whole("transformer_blocks.*.attn.norm_k")],
    ),
    (
        "double_blocks.*.image_attention.output",
        &[Whole("transformer_blocks.*.attn.to_out.0")],
    ),
    (
        "double_blocks.*.text_attention.qkv",
        &[
            Square("transformer_blocks.*.attn.add_q_proj"),
            Square("transformer_blocks.*.attn.add_k_proj"),
            Square("transformer_blocks.*.attn.add_v_proj"),
        ],
    ),
    (
        "double_blocks.*.text_attention.qk_norm.query",
        &[Whole("transformer_blocks.*.attn.norm_added_q")],
    ),
    (
        "double_blocks.*.text_attention.qk_norm.key",
        &[Whole("transformer_blocks.*.attn.norm_added_k")],
    ),
    (
        "double_blocks.*.text_attention.output",
        &[Whole("transformer_blocks.*.attn.to_add_out")],
    ),
    // diffusers' SwiGLU projects to [up; gate] at once.
    (
        "double_blocks.*.image_feed_forward.up",
        &[FirstHalf("transformer_blocks.*.ff.net.0.proj")],
    ),
    (
        "double_blocks.*.image_feed_forward.gate",
        &[SecondHalf("transformer_blocks.*.ff.net.0.proj")],
    ),
    (
        "double_blocks.*.image_feed_forward.down",
        &[Whole("transformer_blocks.*.ff.net.2")],
    ),
    (
        "double_blocks.*.text_feed_forward.up",
        &[FirstHalf("transformer_blocks.*.ff_context.net.0.proj")],
    ),
    (
        "double_blocks.*.text_feed_forward.gate",
        &[SecondHalf("transformer_blocks.*.ff_context.net.0.proj")],
    ),
    (
        "double_blocks.*.text_feed_forward.down",
        &[Whole("transformer_blocks.*.ff_context.net.2")],
    ),
    (
        "single_blocks.*.modulation.linear",
        &[Whole("single_transformer_blocks.*.norm.linear")],
    ),
    (
        "single_blocks.*.qkv_mlp",
        &[
            Square("single_transformer_blocks.*.attn.to_q"),
            Square("single_transformer_blocks.*.attn.to_k"),
            Square("single_transformer_blocks.*.attn.to_v"),
            Whole("single_transformer_blocks.*.proj_mlp"),
        ],
    ),
    (
        "single_blocks.*.qk_norm.query",
        &[Whole("single_transformer_blocks.*.attn.norm_q")],
    ),
    (
        "single_blocks.*.qk_norm.key",
        &[Whole("single_transformer_blocks.*.attn.norm_k")],
    ),
    (
        "single_blocks.*.output",
        &[Whole("single_transformer_blocks.*.proj_out")],
    ),
    // diffusers keeps [scale; shift] here, everyone else [shift; scale].
    (
        "final_layer.modulation",
        &[SecondHalf("norm_out.linear"), FirstHalf("norm_out.linear")],
    ),
    ("final_layer.output", &[Whole("proj_out")]),
];

const TEXT_ENCODER: &[Row] = &[
    ("embedding", &[Whole("embed_tokens.weight")]),
    (
        "blocks.*.attention_norm",
        &[Whole("layers.*.input_layernorm")],
    ),
    (
        "blocks.*.attention.query",
        &[Whole("layers.*.self_attn.q_proj")],
    ),
    (
        "blocks.*.attention.key",
        &[Whole("layers.*.self_attn.k_proj")],
    ),
    (
        "blocks.*.attention.value",
        &[Whole("layers.*.self_attn.v_proj")],
    ),
    (
        "blocks.*.attention.query_norm",
        &[Whole("layers.*.self_attn.q_norm")],
    ),
    (
        "blocks.*.attention.key_norm",
        &[Whole("layers.*.self_attn.k_norm")],
    ),
    (
        "blocks.*.attention.output",
        &[Whole("layers.*.self_attn.o_proj")],
    ),
    (
        "blocks.*.feed_forward_norm",
        &[Whole("layers.*.post_attention_layernorm")],
    ),
    (
        "blocks.*.feed_forward.gate",
        &[Whole("layers.*.mlp.gate_proj")],
    ),
    ("blocks.*.feed_forward.up", &[Whole("layers.*.mlp.up_proj")]),
    (
        "blocks.*.feed_forward.down",
        &[Whole("layers.*.mlp.down_proj")],
    ),
    ("final_norm", &[Whole("norm")]),
];

const VAE_DIFFUSERS: &[Row] = &[
    ("encoder.conv_in", &[Whole("encoder.conv_in")]),
    ("encoder.conv_out", &[Whole("encoder.conv_out")]),
    ("encoder.norm_out", &[Whole("encoder.conv_norm_out")]),
    (
        "encoder.down_blocks.*.resnets.*.norm1",
        &[Whole("encoder.down_blocks.*.resnets.*.norm1")],
    ),
    (
        "encoder.down_blocks.*.resnets.*.conv1",
        &[Whole("encoder.down_blocks.*.resnets.*.conv1")],
    ),
    (
        "encoder.down_blocks.*.resnets.*.norm2",
        &[Whole("encoder.down_blocks.*.resnets.*.norm2")],
    ),
    (
        "encoder.down_blocks.*.resnets.*.conv2",
        &[Whole("encoder.down_blocks.*.resnets.*.conv2")],
    ),
    (
        "encoder.down_blocks.*.resnets.*.shortcut",
        &[Whole("encoder.down_blocks.*.resnets.*.conv_shortcut")],
    ),
    (
        "encoder.down_blocks.*.downsample",
        &[Whole("encoder.down_blocks.*.downsamplers.0.conv")],
    ),
    (
        "encoder.mid.resnet1.norm1",
        &[Whole("encoder.mid_block.resnets.0.norm1")],
    ),
    (
        "encoder.mid.resnet1.conv1",
        &[Whole("encoder.mid_block.resnets.0.conv1")],
    ),
    (
        "encoder.mid.resnet1.norm2",
        &[Whole("encoder.mid_block.resnets.0.norm2")],
    ),
    (
        "encoder.mid.resnet1.conv2",
        &[Whole("encoder.mid_block.resnets.0.conv2")],
    ),
    (
        "encoder.mid.resnet2.norm1",
        &[Whole("encoder.mid_block.resnets.1.norm1")],
    ),
    (
        "encoder.mid.resnet2.conv1",
        &[Whole("encoder.mid_block.resnets.1.conv1")],
    ),
    (
        "encoder.mid.resnet2.norm2",
        &[Whole("encoder.mid_block.resnets.1.norm2")],
    ),
    (
        "encoder.mid.resnet2.conv2",
        &[Whole("encoder.mid_block.resnets.1.conv2")],
    ),
    (
        "encoder.mid.attention.norm",
        &[Whole("encoder.mid_block.attentions.0.group_norm")],
    ),
    (
        "encoder.mid.attention.query",
        &[Whole("encoder.mid_block.attentions.0.to_q")],
    ),
    (
        "encoder.mid.attention.key",
        &[Whole("encoder.mid_block.attentions.0.to_k")],
    ),
    (
        "encoder.mid.attention.value",
        &[Whole("encoder.mid_block.attentions.0.to_v")],
    ),
    (
        "encoder.mid.attention.output",
        &[Whole("encoder.mid_block.attentions.0.to_out.0")],
    ),
    ("decoder.conv_in", &[Whole("decoder.conv_in")]),
    ("decoder.conv_out", &[Whole("decoder.conv_out")]),
    ("decoder.norm_out", &[Whole("decoder.conv_norm_out")]),
    (
        "decoder.up_blocks.*.resnets.*.norm1",
        &[Whole("decoder.up_blocks.*.resnets.*.norm1")],
    ),
    (
        "decoder.up_blocks.*.resnets.*.conv1",
        &[Whole("decoder.up_blocks.*.resnets.*.conv1")],
    ),
    (
        "decoder.up_blocks.*.resnets.*.norm2",
        &[Whole("decoder.up_blocks.*.resnets.*.norm2")],
    ),
    (
        "decoder.up_blocks.*.resnets.*.conv2",
        &[Whole("decoder.up_blocks.*.resnets.*.conv2")],
    ),
    (
        "decoder.up_blocks.*.resnets.*.shortcut",
        &[Whole("decoder.up_blocks.*.resnets.*.conv_shortcut")],
    ),
    (
        "decoder.up_blocks.*.upsample",
        &[Whole("decoder.up_blocks.*.upsamplers.0.conv")],
    ),
    (
        "decoder.mid.resnet1.norm1",
        &[Whole("decoder.mid_block.resnets.0.norm1")],
    ),
    (
        "decoder.mid.resnet1.conv1",
        &[Whole("decoder.mid_block.resnets.0.conv1")],
    ),
    (
        "decoder.mid.resnet1.norm2",
        &[Whole("decoder.mid_block.resnets.0.norm2")],
    ),
    (
        "decoder.mid.resnet1.conv2",
        &[Whole("decoder.mid_block.resnets.0.conv2")],
    ),
    (
        "decoder.mid.resnet2.norm1",
        &[Whole("decoder.mid_block.resnets.1.norm1")],
    ),
    (
        "decoder.mid.resnet2.conv1",
        &[Whole("decoder.mid_block.resnets.1.conv1")],
    ),
    (
        "decoder.mid.resnet2.norm2",
        &[Whole("decoder.mid_block.resnets.1.norm2")],
    ),
    (
        "decoder.mid.resnet2.conv2",
        &[Whole("decoder.mid_block.resnets.1.conv2")],
    ),
    (
        "decoder.mid.attention.norm",
        &[Whole("decoder.mid_block.attentions.0.group_norm")],
    ),
    (
        "decoder.mid.attention.query",
        &[Whole("decoder.mid_block.attentions.0.to_q")],
    ),
    (
        "decoder.mid.attention.key",
        &[Whole("decoder.mid_block.attentions.0.to_k")],
    ),
    (
        "decoder.mid.attention.value",
        &[Whole("decoder.mid_block.attentions.0.to_v")],
    ),
    (
        "decoder.mid.attention.output",
        &[Whole("decoder.mid_block.attentions.0.to_out.0")],
    ),
];

const VAE_BFL: &[Row] = &[
    ("encoder.conv_in", &[Whole("encoder.conv_in")]),
    ("encoder.conv_out", &[Whole("encoder.conv_out")]),
    ("encoder.norm_out", &[Whole("encoder.norm_out")]),
    (
        "encoder.down_blocks.*.resnets.*.norm1",
        &[Whole("encoder.down.*.block.*.norm1")],
    ),
    (
        "encoder.down_blocks.*.resnets.*.conv1",
        &[Whole("encoder.down.*.block.*.conv1")],
    ),
    (
        "encoder.down_blocks.*.resnets.*.norm2",
        &[Whole("encoder.down.*.block.*.norm2")],
    ),
    (
        "encoder.down_blocks.*.resnets.*.conv2",
        &[Whole("encoder.down.*.block.*.conv2")],
    ),
    (
        "encoder.down_blocks.*.resnets.*.shortcut",
        &[Whole("encoder.down.*.block.*.nin_shortcut")],
    ),
    (
        "encoder.down_blocks.*.downsample",
        &[Whole("encoder.down.*.downsample.conv")],
    ),
    (
        "encoder.mid.resnet1.norm1",
        &[Whole("encoder.mid.block_1.norm1")],
    ),
    (
        "encoder.mid.resnet1.conv1",
        &[Whole("encoder.mid.block_1.conv1")],
    ),
    (
        "encoder.mid.resnet1.norm2",
        &[Whole("encoder.mid.block_1.norm2")],
    ),
    (
        "encoder.mid.resnet1.conv2",
        &[Whole("encoder.mid.block_1.conv2")],
    ),
    (
        "encoder.mid.resnet2.norm1",
        &[Whole("encoder.mid.block_2.norm1")],
    ),
    (
        "encoder.mid.resnet2.conv1",
        &[Whole("encoder.mid.block_2.conv1")],
    ),
    (
        "encoder.mid.resnet2.norm2",
        &[Whole("encoder.mid.block_2.norm2")],
    ),
    (
        "encoder.mid.resnet2.conv2",
        &[Whole("encoder.mid.block_2.conv2")],
    ),
    (
        "encoder.mid.attention.norm",
        &[Whole("encoder.mid.attn_1.norm")],
    ),
    (
        "encoder.mid.attention.query",
        &[Whole("encoder.mid.attn_1.q")],
    ),
    (
        "encoder.mid.attention.key",
        &[Whole("encoder.mid.attn_1.k")],
    ),
    (
        "encoder.mid.attention.value",
        &[Whole("encoder.mid.attn_1.v")],
    ),
    (
        "encoder.mid.attention.output",
        &[Whole("encoder.mid.attn_1.proj_out")],
    ),
    ("decoder.conv_in", &[Whole("decoder.conv_in")]),
    ("decoder.conv_out", &[Whole("decoder.conv_out")]),
    ("decoder.norm_out", &[Whole("decoder.norm_out")]),
    // BFL counts the decoder's levels from the pixels, we in the order in which they run.
    (
        "decoder.up_blocks.*.resnets.*.norm1",
        &[Whole("decoder.up.~.block.*.norm1")],
    ),
    (
        "decoder.up_blocks.*.resnets.*.conv1",
        &[Whole("decoder.up.~.block.*.conv1")],
    ),
    (
        "decoder.up_blocks.*.resnets.*.norm2",
        &[Whole("decoder.up.~.block.*.norm2")],
    ),
    (
        "decoder.up_blocks.*.resnets.*.conv2",
        &[Whole("decoder.up.~.block.*.conv2")],
    ),
    (
        "decoder.up_blocks.*.resnets.*.shortcut",
        &[Whole("decoder.up.~.block.*.nin_shortcut")],
    ),
    (
        "decoder.up_blocks.*.upsample",
        &[Whole("decoder.up.~.upsample.conv")],
    ),
    (
        "decoder.mid.resnet1.norm1",
        &[Whole("decoder.mid.block_1.norm1")],
    ),
    (
        "decoder.mid.resnet1.conv1",
        &[Whole("decoder.mid.block_1.conv1")],
    ),
    (
        "decoder.mid.resnet1.norm2",
        &[Whole("decoder.mid.block_1.norm2")],
    ),
    (
        "decoder.mid.resnet1.conv2",
        &[Whole("decoder.mid.block_1.conv2")],
    ),
    (
        "decoder.mid.resnet2.norm1",
        &[Whole("decoder.mid.block_2.norm1")],
    ),
    (
        "decoder.mid.resnet2.conv1",
        &[Whole("decoder.mid.block_2.conv1")],
    ),
    (
        "decoder.mid.resnet2.norm2",
        &[Whole("decoder.mid.block_2.norm2")],
    ),
    (
        "decoder.mid.resnet2.conv2",
        &[Whole("decoder.mid.block_2.conv2")],
    ),
    (
        "decoder.mid.attention.norm",
        &[Whole("decoder.mid.attn_1.norm")],
    ),
    (
        "decoder.mid.attention.query",
        &[Whole("decoder.mid.attn_1.q")],
    ),
    (
        "decoder.mid.attention.key",
        &[Whole("decoder.mid.attn_1.k")],
    ),
    (
        "decoder.mid.attention.value",
        &[Whole("decoder.mid.attn_1.v")],
    ),
    (
        "decoder.mid.attention.output",
        &[Whole("decoder.mid.attn_1.proj_out")],
    ),
];

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
            names(NameTable::text_encoder(), "embedding"),
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
    fn comfyui_spellings_become_the_authors() {
        let table = NameTable::transformer(TransformerNaming::Authors);
        let normal = |key| table.normalise(key).unwrap();
        assert_eq!(normal("txt_norm.scale"), "semantic_txt_norm.weight");
        assert_eq!(normal("txt_in.bias"), "semantic_txt_in.bias");
        assert_eq!(
            normal("model.diffusion_model.double_blocks.0.img_attn.norm.query_norm.scale"),
            "double_blocks.0.img_attn.norm.query_norm.weight"
        );
        assert_eq!(normal("img_in.weight"), "img_in.weight");
    }

    #[test]
    fn vision_parts_and_the_head_are_ignored_and_nothing_else() {
        let table = NameTable::text_encoder();
        for ignored in [
            "llm.lm_head.weight",
            "visual_tokenizer.head.0.weight",
            "vte.weight",
        ] {
            assert_eq!(table.normalise(ignored), None);
        }
        for kept in ["llm.model.norm.weight", "model.norm.weight", "norm.weight"] {
            assert_eq!(table.normalise(kept).unwrap(), "norm.weight");
        }
    }
}
