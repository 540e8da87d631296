"""Write a model in the three published layouts: the diffusers folder, the authors' files, ComfyUI's split files.

The weights (several MB a layout) are not committed. `weights.json` describes how to make each one (see weights.py) and what
each file of each layout contains, as rows of those tensors; `make_goldens.py --write-layouts DIR` writes the complete folders.
This file's key tables are written from the published names, not from this crate's tables.
"""

import json
import os

import numpy as np
import torch
from safetensors.torch import save_file

import weights


class Target:
    """File of one layout: name -> (shape, [(source key, first row, end row), ...]); the parts are joined along dim 0."""

    def __init__(self, rules):
        self.rules = rules
        self.tensors = {}
        self.used = set()

    def put(self, name, *parts, shape=None):
        rows = []
        out = 0
        for part in parts:
            key, a, b = part if isinstance(part, tuple) else (part, 0, self.rules[part].shape[0])
            rows.append((key, a, b))
            out += b - a
            self.used.add(key)
        rest = self.rules[rows[0][0]].shape[1:]
        assert all(self.rules[k].shape[1:] == rest for k, _, _ in rows)
        assert name not in self.tensors
        self.tensors[name] = (shape or [out, *rest], rows)

    def wb(self, name, *sources):
        """Add the weight and the bias in the same way."""
        for leaf in ("weight", "bias"):
            self.put(f"{name}.{leaf}", *[f"{s}.{leaf}" for s in sources])


def transformer(rules, m, comfy):
    """Use the authors' names; ComfyUI's file differs in the text input's two names and in `.scale` for the norms."""
    t = Target(rules)
    p = "transformer/"
    hidden = m["heads"] * m["head_dim"]
    norm = "scale" if comfy else "weight"
    text = "txt" if comfy else "semantic_txt"
    t.wb("img_in", p + "x_embedder")
    t.wb("time_in.in_layer", p + "timestep_embedder.linear_1")
    t.wb("time_in.out_layer", p + "timestep_embedder.linear_2")
    t.put(f"{text}_norm.{norm}", p + "context_embedder_norm.weight")
    t.wb(f"{text}_in", p + "context_embedder")
    for i in range(m["double"]):
        a, d = f"double_blocks.{i}.", f"{p}transformer_blocks.{i}."
        for s, mod, qkv, nq, nk, out, ff in [
            ("img", "norm1", ("to_q", "to_k", "to_v"), "norm_q", "norm_k", "to_out.0", "ff"),
            (
                "txt",
                "norm1_context",
                ("add_q_proj", "add_k_proj", "add_v_proj"),
                "norm_added_q",
                "norm_added_k",
                "to_add_out",
                "ff_context",
            ),
        ]:
            t.wb(f"{a}{s}_mod.lin", f"{d}{mod}.linear")
            t.wb(f"{a}{s}_attn.qkv", *[f"{d}attn.{x}" for x in qkv])
            t.put(f"{a}{s}_attn.norm.query_norm.{norm}", f"{d}attn.{nq}.weight")
            t.put(f"{a}{s}_attn.norm.key_norm.{norm}", f"{d}attn.{nk}.weight")
            t.wb(f"{a}{s}_attn.proj", f"{d}attn.{out}")
            for leaf in ("weight", "bias"):
                both = f"{d}{ff}.net.0.proj.{leaf}"  # rows [up; gate]
                n = rules[both].shape[0] // 2
                t.put(f"{a}{s}_mlp.up_proj.{leaf}", (both, 0, n))
                t.put(f"{a}{s}_mlp.gate_proj.{leaf}", (both, n, 2 * n))
            t.wb(f"{a}{s}_mlp.down_proj", f"{d}{ff}.net.2")
    for i in range(m["single"]):
        a, d = f"single_blocks.{i}.", f"{p}single_transformer_blocks.{i}."
        t.wb(f"{a}modulation.lin", f"{d}norm.linear")
        t.wb(f"{a}linear1", f"{d}attn.to_q", f"{d}attn.to_k", f"{d}attn.to_v", f"{d}proj_mlp")
        t.put(f"{a}norm.query_norm.{norm}", f"{d}attn.norm_q.weight")
        t.put(f"{a}norm.key_norm.{norm}", f"{d}attn.norm_k.weight")
        t.wb(f"{a}linear2", f"{d}proj_out")
    t.wb("final_layer.linear", p + "proj_out")
    for leaf in ("weight", "bias"):
        k = f"{p}norm_out.linear.{leaf}"  # rows [scale; shift] there, [shift; scale] here
        t.put(f"final_layer.adaLN_modulation.1.{leaf}", (k, hidden, 2 * hidden), (k, 0, hidden))
    check_all_used(t, p)
    return t.tensors


def vae(rules, m):
    """Use BFL's names."""
    t = Target(rules)
    p = "vae/"
    n = len(m["vae_channels"])

    def resnet(a, d):
        t.wb(f"{a}.norm1", f"{d}.norm1")
        t.wb(f"{a}.conv1", f"{d}.conv1")
        t.wb(f"{a}.norm2", f"{d}.norm2")
        t.wb(f"{a}.conv2", f"{d}.conv2")
        if f"{d}.conv_shortcut.weight" in rules:
            t.wb(f"{a}.nin_shortcut", f"{d}.conv_shortcut")

    for side in ("encoder", "decoder"):
        d = f"{p}{side}"
        t.wb(f"{side}.conv_in", f"{d}.conv_in")
        t.wb(f"{side}.conv_out", f"{d}.conv_out")
        t.wb(f"{side}.norm_out", f"{d}.conv_norm_out")
        for i in range(2):
            resnet(f"{side}.mid.block_{i + 1}", f"{d}.mid_block.resnets.{i}")
        at = f"{d}.mid_block.attentions.0"
        t.wb(f"{side}.mid.attn_1.norm", f"{at}.group_norm")
        for x, y in [("q", "to_q"), ("k", "to_k"), ("v", "to_v"), ("proj_out", "to_out.0")]:
            c = rules[f"{at}.{y}.bias"].shape[0]
            t.put(f"{side}.mid.attn_1.{x}.weight", f"{at}.{y}.weight", shape=[c, c, 1, 1])
            t.put(f"{side}.mid.attn_1.{x}.bias", f"{at}.{y}.bias")
        for i in range(n):
            if side == "encoder":
                for j in range(m["vae_layers"]):
                    resnet(f"encoder.down.{i}.block.{j}", f"{d}.down_blocks.{i}.resnets.{j}")
                if i < n - 1:
                    t.wb(f"encoder.down.{i}.downsample.conv", f"{d}.down_blocks.{i}.downsamplers.0.conv")
            else:
                for j in range(m["vae_layers"] + 1):
                    resnet(f"decoder.up.{i}.block.{j}", f"{d}.up_blocks.{n - 1 - i}.resnets.{j}")
                if i > 0:
                    t.wb(f"decoder.up.{i}.upsample.conv", f"{d}.up_blocks.{n - 1 - i}.upsamplers.0.conv")
    check_all_used(t, p)
    return t.tensors


def text_encoder(rules, prefix, extra):
    t = Target(rules)
    p = "text_encoder/"
    for k in rules:
        if k.startswith(p):
            t.put(prefix + k[len(p) :], k)
    check_all_used(t, p)
    for name, key in extra.items():
        t.put(name, key)
    return t.tensors


def check_all_used(t, prefix):
    missing = {k for k in t.rules if k.startswith(prefix)} - t.used
    assert not missing, missing


def plain(rules, prefix):
    t = Target(rules)
    for k in rules:
        if k.startswith(prefix):
            t.put(k[len(prefix) :], k)
    return t.tensors


def files(rules, m):
    """Return {path: {tensor name: (shape, parts)}}; add the tensors to be ignored to `rules`."""
    hidden = m["text"]["hidden_size"]
    vocab = rules["text_encoder/embed_tokens.weight"].shape[0]
    for name, shape in {
        "lm_head": [vocab, hidden],
        "visual_patch": [16, 3, 4, 4],
        "visual_norm": [16],
        "vte": [32, hidden],
    }.items():
        rules[f"ignored/{name}"] = weights.rule_for(f"layouts/ignored/{name}", "x", shape, [])
    return {
        "diffusers/transformer/diffusion_pytorch_model.safetensors": plain(rules, "transformer/"),
        "diffusers/vae/diffusion_pytorch_model.safetensors": plain(rules, "vae/"),
        "diffusers/text_encoder/model.safetensors": plain(rules, "text_encoder/"),
        "authors/ovis_image.safetensors": transformer(rules, m, comfy=False),
        "authors/ae.safetensors": vae(rules, m),
        "authors/Ovis2.5-2B/model.safetensors": text_encoder(
            rules,
            "llm.model.",
            {
                "llm.lm_head.weight": "ignored/lm_head",
                "visual_tokenizer.vit.vision_model.embeddings.patch_embedding.weight": "ignored/visual_patch",
                "visual_tokenizer.vit.vision_model.post_layernorm.weight": "ignored/visual_norm",
                "vte.weight": "ignored/vte",
            },
        ),
        "comfyui/diffusion_models/ovis_image_bf16.safetensors": transformer(rules, m, comfy=True),
        "comfyui/text_encoders/ovis_2.5.safetensors": text_encoder(
            rules,
            "model.",
            {
                "visual_tokenizer.vit.vision_model.embeddings.patch_embedding.weight": "ignored/visual_patch",
                "visual_tokenizer.vit.vision_model.post_layernorm.weight": "ignored/visual_norm",
                "vte.weight": "ignored/vte",
            },
        ),
        "comfyui/vae/ae.safetensors": vae(rules, m),
    }


def checksum(tensor):
    """Return the sum of (i+1) * u16[i], modulo 2^64, over the bfloat16 bit patterns."""
    bits = tensor.contiguous().view(torch.uint16).numpy().reshape(-1).astype(np.uint64)
    with np.errstate(over="ignore"):
        return int((bits * np.arange(1, bits.size + 1, dtype=np.uint64)).sum(dtype=np.uint64))


def tensors_of(rules, table, cache):
    out = {}
    for name, (shape, parts) in table.items():
        for k, _, _ in parts:
            if k not in cache:
                cache[k] = rules[k].tensor()
        out[name] = torch.cat([cache[k][a:b] for k, a, b in parts]).reshape(shape).contiguous()
    return out


def write_weights(rules, m, folder):
    """Write the nine weight files."""
    cache = {}
    for path, table in files(rules, m).items():
        full = os.path.join(folder, path)
        os.makedirs(os.path.dirname(full), exist_ok=True)
        save_file(tensors_of(rules, table, cache), full, metadata={"format": "pt"})


def write_spec(rules, m, path):
    table = files(rules, m)
    cache = {}
    spec = {
        "about": "How to make the weights of the three layouts; all are bfloat16. tensors[key]: value i is offset + step*(2k-31), "
        "k = splitmix64(seed, i) >> 59, splitmix64(seed, i) being output number i (from 0) of the generator started at seed "
        "(hexadecimal). files[path][name]: shape, and parts [key, first row, end row] of those tensors, joined along dimension 0. "
        "checksum: sum of (i+1)*u16[i] modulo 2^64 over the bit patterns (decimal).",
        "tensors": {},
        "files": {},
    }
    for name, t in table.items():
        made = tensors_of(rules, t, cache)
        spec["files"][name] = {
            n: {"shape": list(s), "parts": [list(x) for x in p], "checksum": str(checksum(made[n]))}
            for n, (s, p) in t.items()
        }
    spec["tensors"] = {k: r.spec() for k, r in rules.items()}
    with open(path, "w") as f:
        f.write("{\n")
        f.write(f' "about": {json.dumps(spec["about"])},\n "tensors": {{\n')
        f.write(",\n".join(f"  {json.dumps(k)}: {json.dumps(v)}" for k, v in spec["tensors"].items()))
        f.write('\n },\n "files": {\n')
        parts = []
        for name, t in spec["files"].items():
            rows = ",\n".join(f"   {json.dumps(k)}: {json.dumps(v, separators=(',', ':'))}" for k, v in t.items())
            parts.append(f"  {json.dumps(name)}: {{\n{rows}\n  }}")
        f.write(",\n".join(parts))
        f.write("\n }\n}\n")
