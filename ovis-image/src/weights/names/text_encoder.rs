//! The text encoder's parameters, as transformers names them.

use super::Piece::Whole;
use super::Row;

pub(super) const TEXT_ENCODER_PREFIXES: &[&str] = &["llm.model.", "model."];

/// The output head, and the vision parts of Ovis2.5, which text-to-image never reads.
pub(super) const TEXT_ENCODER_IGNORED: &[&str] = &[
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

#[rustfmt::skip]
pub(super) const TEXT_ENCODER: &[Row] = &[
    ("embedding", &[Whole("embed_tokens.weight")]),
    ("blocks.*.attention_norm", &[Whole("layers.*.input_layernorm")]),
    ("blocks.*.attention.query", &[Whole("layers.*.self_attn.q_proj")]),
    ("blocks.*.attention.key", &[Whole("layers.*.self_attn.k_proj")]),
    ("blocks.*.attention.value", &[Whole("layers.*.self_attn.v_proj")]),
    ("blocks.*.attention.query_norm", &[Whole("layers.*.self_attn.q_norm")]),
    ("blocks.*.attention.key_norm", &[Whole("layers.*.self_attn.k_norm")]),
    ("blocks.*.attention.output", &[Whole("layers.*.self_attn.o_proj")]),
    ("blocks.*.feed_forward_norm", &[Whole("layers.*.post_attention_layernorm")]),
    ("blocks.*.feed_forward.gate", &[Whole("layers.*.mlp.gate_proj")]),
    ("blocks.*.feed_forward.up", &[Whole("layers.*.mlp.up_proj")]),
    ("blocks.*.feed_forward.down", &[Whole("layers.*.mlp.down_proj")]),
    ("final_norm", &[Whole("norm")]),
];
