#!/usr/bin/env python3
"""Write a checkpoint of random weights at the sizes of the 7B release, as a diffusers folder. See README.md.

Names and shapes come from diffusers' and transformers' own classes on torch's "meta" device, which holds no values. The files
are written tensor after tensor from a small pool of random values, which takes little memory and about
as long as the disk needs."""

import argparse
import functools
import json
import math
import os
import shutil
import sys
import time

import numpy as np
import torch
from diffusers import AutoencoderKL, FlowMatchEulerDiscreteScheduler, OvisImageTransformer2DModel
from safetensors import safe_open
from transformers import Qwen3Model

sys.dont_write_bytecode = True
import small_models  # noqa: E402

MODEL = dict(
    heads=24, head_dim=128, axes=(16, 56, 56), double=6, single=27, latent_channels=16,
    vae_channels=[128, 256, 512, 512], vae_layers=2, vae_groups=32,
    text=small_models.text(2048, 16, 8, 128, 6144, 1000000.0, layers=28),
)  # fmt: skip
VOCAB, PAD = 151936, 151643
TRANSFORMER_PARAMETERS = 7_370_449_728
GB = 10**9

MODEL_INDEX = {
    "_class_name": "OvisImagePipeline",
    "_diffusers_version": "0.36.0",
    "scheduler": ["diffusers", "FlowMatchEulerDiscreteScheduler"],
    "text_encoder": ["transformers", "Qwen3Model"],
    "tokenizer": ["transformers", "Qwen2TokenizerFast"],
    "transformer": ["diffusers", "OvisImageTransformer2DModel"],
    "vae": ["diffusers", "AutoencoderKL"],
}
TOKENIZER_FILES = [
    "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "vocab.json", "merges.txt",
    "chat_template.jinja",
]  # fmt: skip

POOL = 2**23  # random values, 16 MB as bfloat16 for each scale in use
PIECE = 2**21  # values written at a time, from a random place in the pool


class Values:
    def __init__(self, seed):
        self.rng = np.random.Generator(np.random.PCG64(seed))
        self.uniform = self.rng.random(POOL, dtype=np.float32) * 2 - 1

    @functools.lru_cache(maxsize=None)
    def pool(self, bound):
        """Return values that are uniform between -bound and bound, as the bits of bfloat16 rounded to nearest."""
        bits = (self.uniform * np.float32(bound)).view(np.uint32)
        return ((bits + np.uint32(0x8000)) >> np.uint32(16)).astype("<u2")

    def pieces(self, name, shape):
        n = math.prod(shape)
        if len(shape) == 1 and name.endswith(".weight"):  # every 1-d weight is a norm's
            yield np.full(n, 0x3F80, "<u2")  # 1.0
            return
        if len(shape) == 1:
            bound = 0.05
        elif "embed_tokens" in name:
            bound = 1.7
        else:
            bound = 1.7 / math.sqrt(math.prod(shape[1:]))
        pool = self.pool(bound)
        while n:
            size = min(n, PIECE)
            at = int(self.rng.integers(0, POOL - size + 1))
            yield pool[at : at + size]
            n -= size


def write_safetensors(path, shapes, values):
    """Write a file whose header is complete before any value is made: its length in eight bytes, JSON, then the tensors in order."""
    header, end = {"__metadata__": {"format": "pt"}}, 0
    for name, shape in shapes.items():
        start, end = end, end + 2 * math.prod(shape)
        header[name] = {"dtype": "BF16", "shape": shape, "data_offsets": [start, end]}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb", buffering=0) as f:
        put(f, len(text).to_bytes(8, "little") + text)
        for name, shape in shapes.items():
            for piece in values.pieces(name, shape):
                put(f, piece)
    with safe_open(path, "pt") as f:
        assert set(f.keys()) == set(shapes)
        assert all(f.get_slice(k).get_shape() == s for k, s in shapes.items())


def put(f, data):
    data = memoryview(data).cast("B")
    while data:
        data = data[f.write(data) :]


def sharded(shapes, limit):
    """Split the tensors, in order, into as few shards of about equal size as the limit allows."""
    total = sum(2 * math.prod(s) for s in shapes.values())
    count = math.ceil(total / limit)
    shards, done = [{} for _ in range(count)], 0
    for name, shape in shapes.items():
        shards[min(done * count // total, count - 1)][name] = shape
        done += 2 * math.prod(shape)
    return shards, total


def write_weights(folder, stem, shapes, limit, values):
    start = time.monotonic()
    shards, total = sharded(shapes, limit)
    if len(shards) == 1:
        names = [f"{stem}.safetensors"]
    else:
        names = [f"{stem}-{i + 1:05}-of-{len(shards):05}.safetensors" for i in range(len(shards))]
        where = {k: name for name, shard in zip(names, shards) for k in shard}
        write_json(f"{folder}/{stem}.safetensors.index.json", {"metadata": {"total_size": total}, "weight_map": where})
    for name, shard in zip(names, shards):
        write_safetensors(f"{folder}/{name}", shard, values)
        print(f"  {name}: {os.path.getsize(f'{folder}/{name}') / GB:.2f} GB")
    part = os.path.basename(folder)
    print(f"{part}: {total // 2} parameters, {len(shapes)} tensors, {total / GB:.2f} GB, {time.monotonic() - start:.0f} s", flush=True)


def write_json(path, value):
    with open(path, "w") as f:
        json.dump(value, f, indent=2, sort_keys=True)
        f.write("\n")


def models():
    """Return the parts without their values, each with the stem of its file names."""
    text_config = small_models.text_config(MODEL, VOCAB, PAD)
    text_config.max_position_embeddings = 40960
    text_config.dtype = "bfloat16"
    text_config.architectures = ["Qwen3Model"]
    with torch.device("meta"):
        transformer = OvisImageTransformer2DModel(**small_models.transformer_config(MODEL))
        text = Qwen3Model(text_config)
        vae = AutoencoderKL(**{**small_models.vae_config(MODEL), "sample_size": 1024})
    count = sum(p.numel() for p in transformer.parameters())
    assert count == TRANSFORMER_PARAMETERS, count
    return [
        ("transformer", transformer, "diffusion_pytorch_model"),
        ("vae", vae, "diffusion_pytorch_model"),
        ("text_encoder", text, "model"),
    ]


def main():
    args = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    args.add_argument("folder", help="output folder; must not exist yet")
    args.add_argument("--tokenizer", required=True, metavar="DIR", help="folder with Qwen3's tokenizer.json, which is copied unchanged")
    args.add_argument("--shard-gb", type=float, default=5.0, help="approximate largest size of a file (default: 5)")
    args.add_argument("--seed", type=int, default=0)
    args = args.parse_args()
    if not os.path.isfile(f"{args.tokenizer}/tokenizer.json"):
        sys.exit(f"{args.tokenizer} has no tokenizer.json")
    if os.path.exists(args.folder):
        sys.exit(f"{args.folder} exists: give a new folder, or remove it first")

    parts = []
    for part, model, stem in models():
        parts.append((part, model, stem, {k: list(v.shape) for k, v in model.state_dict().items()}))
    need = sum(2 * math.prod(s) for *_, shapes in parts for s in shapes.values()) + GB // 10
    free = shutil.disk_usage(os.path.dirname(os.path.abspath(args.folder))).free
    if free < need:
        sys.exit(f"{need / GB:.1f} GB are needed, {free / GB:.1f} GB are free")

    os.mkdir(args.folder)
    values = Values(args.seed)
    for part, model, stem, shapes in parts:
        folder = f"{args.folder}/{part}"
        os.mkdir(folder)
        if part == "text_encoder":
            model.config.save_pretrained(folder)
            small_models.rewrite_text_config(folder, MODEL["text"]["rope_theta"])
        else:
            model.save_config(folder)
        write_weights(folder, stem, shapes, args.shard_gb * GB, values)
    FlowMatchEulerDiscreteScheduler(**small_models.SCHEDULER).save_config(f"{args.folder}/scheduler")
    os.mkdir(f"{args.folder}/tokenizer")
    for name in TOKENIZER_FILES:
        if os.path.isfile(f"{args.tokenizer}/{name}"):
            shutil.copyfile(f"{args.tokenizer}/{name}", f"{args.folder}/tokenizer/{name}")
    write_json(f"{args.folder}/model_index.json", MODEL_INDEX)


if __name__ == "__main__":
    main()
