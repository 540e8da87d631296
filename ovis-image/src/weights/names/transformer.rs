//! The transformer's parameters, as the authors and as diffusers name them.

use super::Piece::{FirstHalf, SecondHalf, Square, Whole};
use super::{Alias, Row};

pub(super) const TRANSFORMER_PREFIXES: &[&str] = &["model.diffusion_model.", "diffusion_model."];

/// ComfyUI's spellings of the authors' names.
pub(super) const COMFYUI_ALIASES: &[Alias] = &[
    Alias::Start("txt_norm.", "semantic_txt_norm."),
    Alias::Start("txt_in.", "semantic_txt_in."),
    Alias::End("norm.scale", "norm.weight"),
];

#[rustfmt::skip]
pub(super) const TRANSFORMER_AUTHORS: &[Row] = &[
    ("image_embedder", &[Whole("img_in")]),
    ("text_norm", &[Whole("semantic_txt_norm")]),
    ("text_embedder", &[Whole("semantic_txt_in")]),
    ("timestep_embedder.input", &[Whole("time_in.in_layer")]),
    ("timestep_embedder.output", &[Whole("time_in.out_layer")]),
    ("double_blocks.*.image_modulation.linear", &[Whole("double_blocks.*.img_mod.lin")]),
    ("double_blocks.*.text_modulation.linear", &[Whole("double_blocks.*.txt_mod.lin")]),
    ("double_blocks.*.image_attention.qkv", &[Whole("double_blocks.*.img_attn.qkv")]),
    ("double_blocks.*.image_attention.qk_norm.query", &[Whole("double_blocks.*.img_attn.norm.query_norm")]),
    ("double_blocks.*.image_attention.qk_norm.key", &[Whole("double_blocks.*.img_attn.norm.key_norm")]),
    ("double_blocks.*.image_attention.output", &[Whole("double_blocks.*.img_attn.proj")]),
    ("double_blocks.*.text_attention.qkv", &[Whole("double_blocks.*.txt_attn.qkv")]),
    ("double_blocks.*.text_attention.qk_norm.query", &[Whole("double_blocks.*.txt_attn.norm.query_norm")]),
    ("double_blocks.*.text_attention.qk_norm.key", &[Whole("double_blocks.*.txt_attn.norm.key_norm")]),
    ("double_blocks.*.text_attention.output", &[Whole("double_blocks.*.txt_attn.proj")]),
    ("double_blocks.*.image_feed_forward.gate", &[Whole("double_blocks.*.img_mlp.gate_proj")]),
    ("double_blocks.*.image_feed_forward.up", &[Whole("double_blocks.*.img_mlp.up_proj")]),
    ("double_blocks.*.image_feed_forward.down", &[Whole("double_blocks.*.img_mlp.down_proj")]),
    ("double_blocks.*.text_feed_forward.gate", &[Whole("double_blocks.*.txt_mlp.gate_proj")]),
    ("double_blocks.*.text_feed_forward.up", &[Whole("double_blocks.*.txt_mlp.up_proj")]),
    ("double_blocks.*.text_feed_forward.down", &[Whole("double_blocks.*.txt_mlp.down_proj")]),
    ("single_blocks.*.modulation.linear", &[Whole("single_blocks.*.modulation.lin")]),
    ("single_blocks.*.qkv_mlp", &[Whole("single_blocks.*.linear1")]),
    ("single_blocks.*.qk_norm.query", &[Whole("single_blocks.*.norm.query_norm")]),
    ("single_blocks.*.qk_norm.key", &[Whole("single_blocks.*.norm.key_norm")]),
    ("single_blocks.*.output", &[Whole("single_blocks.*.linear2")]),
    ("final_layer.modulation", &[Whole("final_layer.adaLN_modulation.1")]),
    ("final_layer.output", &[Whole("final_layer.linear")]),
];

#[rustfmt::skip]
pub(super) const TRANSFORMER_DIFFUSERS: &[Row] = &[
    ("image_embedder", &[Whole("x_embedder")]),
    ("text_norm", &[Whole("context_embedder_norm")]),
    ("text_embedder", &[Whole("context_embedder")]),
    ("timestep_embedder.input", &[Whole("timestep_embedder.linear_1")]),
    ("timestep_embedder.output", &[Whole("timestep_embedder.linear_2")]),
    ("double_blocks.*.image_modulation.linear", &[Whole("transformer_blocks.*.norm1.linear")]),
    ("double_blocks.*.text_modulation.linear", &[Whole("transformer_blocks.*.norm1_context.linear")]),
    ("double_blocks.*.image_attention.qkv", &[Square("transformer_blocks.*.attn.to_q"), Square("transformer_blocks.*.attn.to_k"), Square("transformer_blocks.*.attn.to_v")]),
    ("double_blocks.*.image_attention.qk_norm.query", &[Whole("transformer_blocks.*.attn.norm_q")]),
    ("double_blocks.*.image_attention.qk_norm.key", &[Whole("transformer_blocks.*.attn.norm_k")]),
    ("double_blocks.*.image_attention.output", &[Whole("transformer_blocks.*.attn.to_out.0")]),
    ("double_blocks.*.text_attention.qkv", &[Square("transformer_blocks.*.attn.add_q_proj"), Square("transformer_blocks.*.attn.add_k_proj"), Square("transformer_blocks.*.attn.add_v_proj")]),
    ("double_blocks.*.text_attention.qk_norm.query", &[Whole("transformer_blocks.*.attn.norm_added_q")]),
    ("double_blocks.*.text_attention.qk_norm.key", &[Whole("transformer_blocks.*.attn.norm_added_k")]),
    ("double_blocks.*.text_attention.output", &[Whole("transformer_blocks.*.attn.to_add_out")]),
    // diffusers' SwiGLU projects to [up; gate] at once.
    ("double_blocks.*.image_feed_forward.up", &[FirstHalf("transformer_blocks.*.ff.net.0.proj")]),
    ("double_blocks.*.image_feed_forward.gate", &[SecondHalf("transformer_blocks.*.ff.net.0.proj")]),
    ("double_blocks.*.image_feed_forward.down", &[Whole("transformer_blocks.*.ff.net.2")]),
    ("double_blocks.*.text_feed_forward.up", &[FirstHalf("transformer_blocks.*.ff_context.net.0.proj")]),
    ("double_blocks.*.text_feed_forward.gate", &[SecondHalf("transformer_blocks.*.ff_context.net.0.proj")]),
    ("double_blocks.*.text_feed_forward.down", &[Whole("transformer_blocks.*.ff_context.net.2")]),
    ("single_blocks.*.modulation.linear", &[Whole("single_transformer_blocks.*.norm.linear")]),
    ("single_blocks.*.qkv_mlp", &[Square("single_transformer_blocks.*.attn.to_q"), Square("single_transformer_blocks.*.attn.to_k"), Square("single_transformer_blocks.*.attn.to_v"), Whole("single_transformer_blocks.*.proj_mlp")]),
    ("single_blocks.*.qk_norm.query", &[Whole("single_transformer_blocks.*.attn.norm_q")]),
    ("single_blocks.*.qk_norm.key", &[Whole("single_transformer_blocks.*.attn.norm_k")]),
    ("single_blocks.*.output", &[Whole("single_transformer_blocks.*.proj_out")]),
    // diffusers keeps [scale; shift] here, everyone else [shift; scale].
    ("final_layer.modulation", &[SecondHalf("norm_out.linear"), FirstHalf("norm_out.linear")]),
    ("final_layer.output", &[Whole("proj_out")]),
];
