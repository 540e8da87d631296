"""Writes checkpoints of random weights as diffusers folders, with Python's own library alone."""

import array
import json
import math
import os
import random
import shutil
import struct

SCHEDULER = {
    "_class_name": "FlowMatchEulerDiscreteScheduler", "num_train_timesteps": 1000, "shift": 3.0, "use_dynamic_shifting": True,
    "base_image_seq_len": 256, "max_image_seq_len": 4096, "base_shift": 0.5, "max_shift": 1.15, "time_shift_type": "exponential",
}  # fmt: skip
MODEL_INDEX = {"_class_name": "OvisImagePipeline", "_diffusers_version": "0.36.0"}
PAD = 151643
POOL = 2**20  # random values, from which every tensor is cut


def linear(shapes, name, inputs, outputs):
    shapes[f"{name}.weight"] = [outputs, inputs]
    shapes[f"{name}.bias"] = [outputs]


def transformer(heads, double, single, context, head_dim=128, axes=(16, 56, 56)):
    hidden = heads * head_dim
    shapes = {"context_embedder_norm.weight": [context]}
    linear(shapes, "x_embedder", 64, hidden)
    linear(shapes, "context_embedder", context, hidden)
    linear(shapes, "timestep_embedder.linear_1", 256, hidden)
    linear(shapes, "timestep_embedder.linear_2", hidden, hidden)
    linear(shapes, "norm_out.linear", hidden, 2 * hidden)
    linear(shapes, "proj_out", hidden, 64)
    for i in range(double):
        block = f"transformer_blocks.{i}"
        for layer in ["to_q", "to_k", "to_v", "to_out.0", "add_q_proj", "add_k_proj", "add_v_proj", "to_add_out"]:
            linear(shapes, f"{block}.attn.{layer}", hidden, hidden)
        for norm in ["norm_q", "norm_k", "norm_added_q", "norm_added_k"]:
            shapes[f"{block}.attn.{norm}.weight"] = [head_dim]
        for stream in ["ff", "ff_context"]:
            linear(shapes, f"{block}.{stream}.net.0.proj", hidden, 8 * hidden)
            linear(shapes, f"{block}.{stream}.net.2", 4 * hidden, hidden)
        for norm in ["norm1", "norm1_context"]:
            linear(shapes, f"{block}.{norm}.linear", hidden, 6 * hidden)
    for i in range(single):
        block = f"single_transformer_blocks.{i}"
        for layer in ["to_q", "to_k", "to_v"]:
            linear(shapes, f"{block}.attn.{layer}", hidden, hidden)
        for norm in ["norm_q", "norm_k"]:
            shapes[f"{block}.attn.{norm}.weight"] = [head_dim]
        linear(shapes, f"{block}.proj_mlp", hidden, 8 * hidden)
        linear(shapes, f"{block}.proj_out", 5 * hidden, hidden)
        linear(shapes, f"{block}.norm.linear", hidden, 3 * hidden)
    config = {
        "_class_name": "OvisImageTransformer2DModel", "attention_head_dim": head_dim, "axes_dims_rope": list(axes), "in_channels": 64,
        "out_channels": 64, "joint_attention_dim": context, "num_attention_heads": heads, "num_layers": double,
        "num_single_layers": single, "patch_size": 1,
    }  # fmt: skip
    return config, shapes


def text_encoder(hidden, layers, heads, kv_heads, intermediate, vocab, head_dim=128):
    shapes = {"embed_tokens.weight": [vocab, hidden], "norm.weight": [hidden]}
    for i in range(layers):
        layer = f"layers.{i}"
        for name, out in [("q_proj", heads * head_dim), ("k_proj", kv_heads * head_dim), ("v_proj", kv_heads * head_dim)]:
            shapes[f"{layer}.self_attn.{name}.weight"] = [out, hidden]
        shapes[f"{layer}.self_attn.o_proj.weight"] = [hidden, heads * head_dim]
        for name in ["q_norm", "k_norm"]:
            shapes[f"{layer}.self_attn.{name}.weight"] = [head_dim]
        shapes[f"{layer}.mlp.gate_proj.weight"] = [intermediate, hidden]
        shapes[f"{layer}.mlp.up_proj.weight"] = [intermediate, hidden]
        shapes[f"{layer}.mlp.down_proj.weight"] = [hidden, intermediate]
        for name in ["input_layernorm", "post_attention_layernorm"]:
            shapes[f"{layer}.{name}.weight"] = [hidden]
    config = {
        "architectures": ["Qwen3Model"], "model_type": "qwen3", "hidden_size": hidden, "num_hidden_layers": layers,
        "num_attention_heads": heads, "num_key_value_heads": kv_heads, "head_dim": head_dim, "intermediate_size": intermediate,
        "vocab_size": vocab, "rms_norm_eps": 1e-06, "rope_theta": 1000000.0, "hidden_act": "silu", "attention_bias": False,
        "pad_token_id": min(PAD, vocab - 1),
    }  # fmt: skip
    return config, shapes


def conv(shapes, name, inputs, outputs, kernel=3):
    shapes[f"{name}.weight"] = [outputs, inputs, kernel, kernel]
    shapes[f"{name}.bias"] = [outputs]


def group_norm(shapes, name, channels):
    shapes[f"{name}.weight"] = [channels]
    shapes[f"{name}.bias"] = [channels]


def resnet(shapes, name, inputs, outputs):
    group_norm(shapes, f"{name}.norm1", inputs)
    conv(shapes, f"{name}.conv1", inputs, outputs)
    group_norm(shapes, f"{name}.norm2", outputs)
    conv(shapes, f"{name}.conv2", outputs, outputs)
    if inputs != outputs:
        conv(shapes, f"{name}.conv_shortcut", inputs, outputs, 1)


def mid_block(shapes, name, channels):
    for i in range(2):
        resnet(shapes, f"{name}.resnets.{i}", channels, channels)
    group_norm(shapes, f"{name}.attentions.0.group_norm", channels)
    for layer in ["to_q", "to_k", "to_v", "to_out.0"]:
        linear(shapes, f"{name}.attentions.0.{layer}", channels, channels)


def vae(widths=(128, 256, 512, 512), layers=2, groups=32, latent=16):
    shapes, last = {}, len(widths) - 1
    conv(shapes, "encoder.conv_in", 3, widths[0])
    before = widths[0]
    for i, width in enumerate(widths):
        for j in range(layers):
            resnet(shapes, f"encoder.down_blocks.{i}.resnets.{j}", before, width)
            before = width
        if i < last:
            conv(shapes, f"encoder.down_blocks.{i}.downsamplers.0.conv", width, width)
    mid_block(shapes, "encoder.mid_block", before)
    group_norm(shapes, "encoder.conv_norm_out", before)
    conv(shapes, "encoder.conv_out", before, 2 * latent)
    conv(shapes, "decoder.conv_in", latent, before)
    mid_block(shapes, "decoder.mid_block", before)
    for i, width in enumerate(reversed(widths)):
        for j in range(layers + 1):
            resnet(shapes, f"decoder.up_blocks.{i}.resnets.{j}", before, width)
            before = width
        if i < last:
            conv(shapes, f"decoder.up_blocks.{i}.upsamplers.0.conv", width, width)
    group_norm(shapes, "decoder.conv_norm_out", before)
    conv(shapes, "decoder.conv_out", before, 3)
    config = {
        "_class_name": "AutoencoderKL", "act_fn": "silu", "block_out_channels": list(widths), "in_channels": 3, "out_channels": 3,
        "latent_channels": latent, "layers_per_block": layers, "norm_num_groups": groups, "scaling_factor": 0.3611,
        "shift_factor": 0.1159, "use_quant_conv": False, "use_post_quant_conv": False, "force_upcast": True,
        "mid_block_add_attention": True, "sample_size": 1024,
        "down_block_types": ["DownEncoderBlock2D"] * len(widths), "up_block_types": ["UpDecoderBlock2D"] * len(widths),
    }  # fmt: skip
    return config, shapes


class Values:
    """Random weights: uniform, with the variance that keeps activations about 1; norms are 1."""

    def __init__(self):
        numbers = random.Random(7)
        self.uniform = array.array("f", (numbers.uniform(-1, 1) for _ in range(POOL)))
        self.pools = {}

    def of(self, name, shape, dtype):
        """The bytes of a tensor, in pieces."""
        count = math.prod(shape)
        if len(shape) == 1 and name.endswith("weight"):
            yield encode(array.array("f", [1.0]) * count, dtype)
            return
        bound = 0.05 if len(shape) == 1 else 1.0 if "embed_tokens" in name else 1.0 / math.sqrt(math.prod(shape[1:]))
        if (bound, dtype) not in self.pools:
            self.pools[bound, dtype] = encode(array.array("f", (bound * value for value in self.uniform)), dtype)
        pool = self.pools[bound, dtype]
        left = count * (len(pool) // POOL)
        while left:
            piece = pool[: min(left, len(pool))]
            yield piece
            left -= len(piece)


def encode(values, dtype):
    data = values.tobytes()
    if dtype == "F32":
        return data
    short = bytearray(len(data) // 2)
    short[0::2], short[1::2] = data[2::4], data[3::4]  # the upper half: bf16, cut off
    return bytes(short)


def write_safetensors(path, shapes, values, dtype):
    size = {"F32": 4, "BF16": 2}[dtype]
    header, end = {}, 0
    for name, shape in shapes.items():
        start, end = end, end + size * math.prod(shape)
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [start, end]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as f:
        f.write(struct.pack("<Q", len(text)) + text)
        for name, shape in shapes.items():
            for piece in values.of(name, shape, dtype):
                f.write(piece)


def write_json(path, value):
    with open(path, "w") as f:
        json.dump(value, f, indent=2)


def write(folder, parts, dtype, tokenizer):
    """A checkpoint of `parts`, a dictionary of (configuration, shapes); `tokenizer` is a folder whose tokenizer.json is copied."""
    unfinished, values = f"{folder}.unfinished", Values()
    shutil.rmtree(unfinished, ignore_errors=True)
    for part, (config, shapes) in parts.items():
        os.makedirs(f"{unfinished}/{part}")
        write_json(f"{unfinished}/{part}/config.json", config)
        stem = "model" if part == "text_encoder" else "diffusion_pytorch_model"
        write_safetensors(f"{unfinished}/{part}/{stem}.safetensors", shapes, values, dtype)
    os.makedirs(f"{unfinished}/scheduler")
    write_json(f"{unfinished}/scheduler/scheduler_config.json", SCHEDULER)
    os.makedirs(f"{unfinished}/tokenizer")
    shutil.copyfile(f"{tokenizer}/tokenizer.json", f"{unfinished}/tokenizer/tokenizer.json")
    write_json(f"{unfinished}/model_index.json", MODEL_INDEX)
    os.rename(unfinished, folder)
