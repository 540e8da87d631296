"""Write GGUF files with the `gguf` package, and the results of that package and of diffusers on them.

`types.gguf` has one tensor of each element type that the library reads, and metadata of every kind;
`types.safetensors` has the values to which `gguf.quants` dequantizes them. `q8_0/` and `q4_0/` contain the transformer of
`base` in stable-diffusion.cpp's naming, and the pipeline's golden with the dequantized weights.
"""

import os
import shutil

import gguf
import numpy as np
import torch
from gguf.constants import GGML_QUANT_SIZES, GGMLQuantizationType
from safetensors.torch import load_file, save_file

import layouts
import pipeline
import small_models
import weights
from cases import CASES

COLUMNS, ROWS = 512, 3
FLOATS = ["F32", "F16", "BF16"]
# The package has no quantizer for the K types, so their blocks are random bytes with scales of a plausible size.
SIMPLE = ["Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0"]
K_SCALES = {"Q4_K": [0, 2], "Q5_K": [0, 2], "Q6_K": [208]}


def values(key, n, scale=1 / 16):
    return (weights.levels(weights.fnv1a64(key), n) * scale).astype(np.float32)


def k_blocks(name):
    kind = GGMLQuantizationType[name]
    elements, size = GGML_QUANT_SIZES[kind]
    blocks = ROWS * COLUMNS // elements
    rng = np.random.Generator(np.random.PCG64(weights.fnv1a64(name)))
    raw = rng.integers(0, 256, (blocks, size), dtype=np.uint8)
    for at in K_SCALES[name]:
        scale = rng.uniform(-1e-2, 1e-2, blocks).astype(np.float16)
        raw[:, at : at + 2] = scale.view(np.uint8).reshape(blocks, 2)
    return raw.reshape(ROWS, -1)


def types(folder):
    w = gguf.GGUFWriter(f"{folder}/types.gguf", "flux")
    w.add_custom_alignment(64)
    w.add_string("general.name", "one tensor of each type")
    w.add_array("test.strings", ["a", "bc", ""])
    w.add_array("test.numbers", [1, 2, 3])
    w.add_bool("test.bool", True)
    w.add_float64("test.float64", 0.5)
    w.add_uint8("test.uint8", 7)
    w.add_int16("test.int16", -7)
    w.add_uint64("test.uint64", 2**40)
    expected = {}
    for name in [*FLOATS, *SIMPLE, *K_SCALES]:
        kind = GGMLQuantizationType[name]
        if name in K_SCALES:
            raw = k_blocks(name)
        elif name in FLOATS:
            dense = torch.from_numpy(values(name, ROWS * COLUMNS).reshape(ROWS, COLUMNS))
            dtype = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}[name]
            dense = dense.to(dtype)
            raw = dense.view(torch.int16).numpy().view(np.uint8) if name == "BF16" else dense.numpy()
        else:
            raw = gguf.quants.quantize(values(name, ROWS * COLUMNS).reshape(ROWS, COLUMNS), kind)
        tensor = f"{name.lower()}.weight"
        w.add_tensor(tensor, raw, raw_dtype=kind)
        floats = gguf.quants.dequantize(raw, kind) if name not in ("F32", "F16") else raw.astype(np.float32)
        expected[tensor] = torch.from_numpy(np.ascontiguousarray(floats)).reshape(ROWS, COLUMNS)
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()
    save_file(expected, f"{folder}/types.safetensors")


def transformer(root, folder, name):
    kind = GGMLQuantizationType[name]
    m, model = small_models.MODELS["base"], f"{root}/base/model"
    dense = load_file(f"{model}/transformer/diffusion_pytorch_model.safetensors")
    rules = {f"transformer/{k}": v for k, v in dense.items()}
    out = f"{folder}/{name.lower()}"
    os.makedirs(f"{out}/transformer", exist_ok=True)
    shutil.copyfile(f"{model}/transformer/config.json", f"{out}/transformer/config.json")
    w = gguf.GGUFWriter(f"{out}/transformer/ovis_image-{name}.gguf", "flux")
    made = {k: v.float().clone() for k, v in dense.items()}
    for key, (shape, parts) in layouts.transformer(rules, m, comfy=True).items():
        whole = torch.cat([rules[k][a:b] for k, a, b in parts]).float().reshape(shape).numpy()
        quantized = whole.ndim == 2 and whole.shape[1] % 32 == 0
        raw = gguf.quants.quantize(whole, kind) if quantized else whole
        w.add_tensor(f"model.diffusion_model.{key}", raw, raw_dtype=kind if quantized else GGMLQuantizationType.F32)
        back = torch.from_numpy(np.ascontiguousarray(gguf.quants.dequantize(raw, kind) if quantized else raw))
        row = 0
        for k, a, b in parts:
            made[k.removeprefix("transformer/")][a:b] = back.reshape(shape)[row : row + b - a].reshape(made[k.removeprefix("transformer/")][a:b].shape)
            row += b - a
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()

    pipe = pipeline.load(model, "f32")
    pipe.transformer.load_state_dict(made)
    tensors = pipeline.run(pipe, CASES["base"], "f32")
    save_file({k: tensors[k].contiguous() for k in ("latents_out", "image")}, f"{out}/golden.safetensors")


def make(root):
    folder = f"{root}/gguf"
    os.makedirs(folder, exist_ok=True)
    types(folder)
    for name in ("Q8_0", "Q4_0"):
        transformer(root, folder, name)
