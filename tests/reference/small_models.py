"""Small random models, built with diffusers' and transformers' own classes and written with their own
save_pretrained, weights in bfloat16."""

import json
import os

import torch
from diffusers import AutoencoderKL, FlowMatchEulerDiscreteScheduler, OvisImagePipeline, OvisImageTransformer2DModel
from safetensors.torch import load_file, save_file
from transformers import Qwen3Config, Qwen3Model

import small_tokenizer
import weights

# Gains that differ from 1, first match wins. They keep the trajectory small and the image within its range.
TRANSFORMER_GAINS = [
    ("norm_q.weight", 2.0),
    ("norm_added_q.weight", 2.0),
    ("norm_k.weight", 1.0),
    ("norm_added_k.weight", 1.0),
    ("norm1.linear", 1.2),
    ("norm1_context.linear", 1.2),
    ("norm.linear", 1.2),
    ("norm_out.linear", 0.6),
    ("timestep_embedder.linear_1", 1.4),
    ("timestep_embedder.linear_2", 1.4),
    ("to_out.0", 1.6),
    ("to_add_out", 1.6),
    ("transformer_blocks.0.proj_out", 1.4),
    ("transformer_blocks.1.proj_out", 1.4),
    ("proj_out", 0.6),
]
VAE_GAINS = [("conv_norm_out", 1.0), ("decoder.conv_out", 0.55), ("encoder.conv_out", 1.0), ("conv_in", 1.0), ("conv", 1.4), ("norm", 1.0)]
ENCODER_GAINS = [("o_proj", 1.4), ("down_proj", 1.6)]


def transformer_config(m):
    return dict(
        patch_size=1,
        in_channels=4 * m["latent_channels"],
        out_channels=4 * m["latent_channels"],
        num_layers=m["double"],
        num_single_layers=m["single"],
        attention_head_dim=m["head_dim"],
        num_attention_heads=m["heads"],
        joint_attention_dim=m["text"]["hidden_size"],
        axes_dims_rope=m["axes"],
    )


def vae_config(m):
    n = len(m["vae_channels"])
    return dict(
        in_channels=3,
        out_channels=3,
        down_block_types=["DownEncoderBlock2D"] * n,
        up_block_types=["UpDecoderBlock2D"] * n,
        block_out_channels=m["vae_channels"],
        layers_per_block=m["vae_layers"],
        act_fn="silu",
        latent_channels=m["latent_channels"],
        norm_num_groups=m["vae_groups"],
        sample_size=64,
        scaling_factor=0.3611,
        shift_factor=0.1159,
        force_upcast=True,
        use_quant_conv=False,
        use_post_quant_conv=False,
    )


SCHEDULER = dict(
    num_train_timesteps=1000,
    shift=3.0,
    use_dynamic_shifting=True,
    base_shift=0.5,
    max_shift=1.15,
    base_image_seq_len=256,
    max_image_seq_len=4096,
)


def text_config(m, vocab_size, pad):
    t = dict(m["text"])
    theta = t.pop("rope_theta")
    return Qwen3Config(
        vocab_size=vocab_size,
        max_position_embeddings=4096,
        rms_norm_eps=1e-6,
        attention_bias=False,
        rope_parameters={"rope_type": "default", "rope_theta": theta},
        bos_token_id=None,
        eos_token_id=pad,
        pad_token_id=pad,
        tie_word_embeddings=True,
        **t,
    )


def rewrite_text_config(folder, theta):
    """Use the spelling of transformers 4: rope_theta at the top level."""
    path = os.path.join(folder, "config.json")
    with open(path) as f:
        c = json.load(f)
    assert c.pop("rope_parameters")["rope_theta"] == theta
    c["rope_theta"] = theta
    c["rope_scaling"] = None
    c["torch_dtype"] = c.pop("dtype")
    c["transformers_version"] = "4.51.0"
    with open(path, "w") as f:
        json.dump(dict(sorted(c.items())), f, indent=2)
        f.write("\n")


def build(m, folder):
    """Write one model folder; return the rules of its weights, by `part/name`."""
    tok = small_tokenizer.save(os.path.join(folder, "tokenizer"))
    vocab = -(-len(tok) // 32) * 32  # more rows than tokens, like the real one
    gains = m.get("gains", {})
    transformer = OvisImageTransformer2DModel(**transformer_config(m))
    vae = AutoencoderKL(**vae_config(m))
    text = Qwen3Model(text_config(m, vocab, tok.pad_token_id))
    scheduler = FlowMatchEulerDiscreteScheduler(**SCHEDULER)
    rules = {}
    for part, model, default in [
        ("transformer", transformer, TRANSFORMER_GAINS),
        ("vae", vae, VAE_GAINS),
        ("text_encoder", text, ENCODER_GAINS),
    ]:
        model.to(torch.bfloat16).eval().requires_grad_(False)
        made = weights.fill(model, f"{m['name']}/{part}", gains.get(part, []) + default)
        rules.update({f"{part}/{k}": r for k, r in made.items()})
    pipe = OvisImagePipeline(scheduler=scheduler, vae=vae, text_encoder=text, tokenizer=tok, transformer=transformer)
    shard = m.get("max_shard_size")
    vae.save_pretrained(f"{folder}/vae")
    transformer.save_pretrained(f"{folder}/transformer", **({"max_shard_size": shard} if shard else {}))
    text.save_pretrained(f"{folder}/text_encoder", **({"max_shard_size": shard} if shard else {}))
    scheduler.save_pretrained(f"{folder}/scheduler")
    pipe.save_config(folder)  # model_index.json
    if m.get("rope_theta_on_top"):
        rewrite_text_config(f"{folder}/text_encoder", m["text"]["rope_theta"])
    if m.get("model_prefix"):
        path = f"{folder}/text_encoder/model.safetensors"
        save_file({f"model.{k}": v for k, v in load_file(path).items()}, path, metadata={"format": "pt"})
    again = Qwen3Model.from_pretrained(f"{folder}/text_encoder", dtype=torch.bfloat16)
    assert again.config.rope_parameters["rope_theta"] == m["text"]["rope_theta"]
    for (k, a), (k2, b) in zip(text.state_dict().items(), again.state_dict().items(), strict=True):
        assert k == k2 and torch.equal(a, b), k
    return rules


def text(hidden, heads, kv, head_dim, ffn, theta, layers=2):
    return dict(
        hidden_size=hidden,
        num_attention_heads=heads,
        num_key_value_heads=kv,
        head_dim=head_dim,
        intermediate_size=ffn,
        num_hidden_layers=layers,
        rope_theta=theta,
    )


MODELS = {
    # heads of 16; GQA 2; VAE of 2 levels, 4 latent channels
    "base": dict(
        heads=2, head_dim=16, axes=(4, 6, 6), double=2, single=2, latent_channels=4,
        vae_channels=[8, 16], vae_layers=1, vae_groups=4,
        text=text(32, 4, 2, 16, 64, 1000000.0),
        # milder attention: two blocks of each kind gather more rounding in bfloat16
        gains={"transformer": [("norm_q.weight", 1.0), ("norm_added_q.weight", 1.0), ("to_out.0", 1.4), ("to_add_out", 1.4)]},
    ),
    # heads of 32; GQA 4; encoder heads (32) unlike hidden/heads (12); rope_theta at the top; `model.` prefix; VAE of 3 levels
    "head32_gqa4": dict(
        heads=1, head_dim=32, axes=(8, 12, 12), double=1, single=2, latent_channels=16,
        vae_channels=[8, 8, 16], vae_layers=2, vae_groups=8,
        text=text(48, 4, 1, 32, 80, 50000.0, layers=3), rope_theta_on_top=True, model_prefix=True,
    ),
    # heads of 64; GQA 1; shards; VAE of 4 levels
    "head64_sharded": dict(
        heads=1, head_dim=64, axes=(16, 24, 24), double=1, single=1, latent_channels=16,
        vae_channels=[8, 16, 16, 16], vae_layers=1, vae_groups=8,
        text=text(64, 2, 2, 64, 96, 250000.0), max_shard_size="250KB",
        gains={"vae": [("decoder.conv_out", 0.45)]},
    ),
    # heads of 128 and GroupNorm of 32, as in the release: the model of the three layouts
    "layouts": dict(
        heads=1, head_dim=128, axes=(16, 56, 56), double=2, single=2, latent_channels=16,
        vae_channels=[32, 32, 64, 64], vae_layers=2, vae_groups=32,
        text=text(64, 4, 2, 128, 96, 1000000.0),
    ),
}  # fmt: skip
for _name, _m in MODELS.items():
    _m["name"] = _name
