#!/usr/bin/env python3
"""Write the small random model that the command-line example ships with, or check the committed one. See README.md."""

import argparse
import os
import shutil
import sys
import tempfile

import torch

sys.dont_write_bytecode = True
import pipeline  # noqa: E402
import small_models  # noqa: E402
from make_goldens import differ, readable  # noqa: E402

HERE = os.path.dirname(os.path.abspath(__file__))
TINY = os.path.join(os.path.dirname(os.path.dirname(HERE)), "ovis-image-examples", "assets", "tiny")
LIMIT = 2_500_000  # bytes, all files together

# Every part of the real model, with sizes in multiples of 16 as in the release.
MODEL = dict(
    name="tiny",
    heads=2, head_dim=32, axes=(8, 12, 12), double=2, single=3, latent_channels=16,
    vae_channels=[16, 16, 32, 32], vae_layers=1, vae_groups=8,
    text=small_models.text(64, 4, 2, 32, 128, 1000000.0),
    # Attention looks more at the prompt and the velocity is larger, so that the prompt shows in the image; more than this
    # and the trajectory gathers too much of bfloat16's rounding.
    gains={"transformer": [
        ("norm_q.weight", 1.0), ("norm_added_q.weight", 1.0), ("norm_added_k.weight", 4.0), ("to_out.0", 2.0),
        ("norm_out.linear", 0.6), *((f"transformer_blocks.{i}.proj_out", 1.4) for i in range(3)), ("proj_out", 0.9),
    ]},
)  # fmt: skip

# (prompt, seed): the others are compared with the image of the first
SAMPLES = [("a cat on a red mat", 42), ("a blue mountain and a lake at night", 42), ("a cat on a red mat", 43)]


def files(folder):
    return sorted(os.path.join(d, n) for d, _, names in os.walk(folder) for n in names)


def make(folder):
    shutil.rmtree(folder, ignore_errors=True)
    small_models.build(MODEL, folder)
    readable(folder)
    size = sum(os.path.getsize(p) for p in files(folder))
    print(f"{size} bytes")
    assert size <= LIMIT


def try_out(folder, pictures):
    """Generate 256x256 images with diffusers; check that they are neither gray nor saturated and depend on prompt and seed."""
    pipe = pipeline.load(folder, "f32")
    assert pipe.vae_scale_factor == 8
    first = None
    for i, (prompt, seed) in enumerate(SAMPLES):
        image = pipe(
            prompt=prompt, height=256, width=256, num_inference_steps=20, guidance_scale=5.0,
            generator=torch.Generator("cpu").manual_seed(seed), output_type="pt",
        ).images[0]  # fmt: skip
        first = image if first is None else first
        clamped = ((image <= 0) | (image >= 1)).float().mean().item()
        change = (image - first).abs().mean().item()
        mean, std = ([round(v, 2) for v in f((1, 2)).tolist()] for f in (image.mean, image.std))
        print(f"{prompt!r}, seed {seed}: mean {mean}, std {std}, {100 * clamped:.1f} % clamped, {change:.3f} from the first")
        if pictures:
            os.makedirs(pictures, exist_ok=True)
            pipe.image_processor.postprocess(image[None] * 2 - 1)[0].save(os.path.join(pictures, f"tiny_{i}.png"))
        assert image.isfinite().all() and image.shape == (3, 256, 256)
        assert min(std) > 0.08 and clamped < 0.1 and all(0.25 < m < 0.75 for m in mean)
        assert i == 0 or change > 0.05


def main():
    ap = argparse.ArgumentParser(description=__doc__)
    ap.add_argument("--check", action="store_true", help="make it again in a temporary folder and compare")
    ap.add_argument("--out", default=TINY, help="folder to write or to check (default: the example's assets)")
    ap.add_argument("--pictures", metavar="DIR", help="write the images of the trial run into this folder")
    args = ap.parse_args()
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    bad = []
    if args.check:
        with tempfile.TemporaryDirectory() as tmp:
            make(f"{tmp}/tiny")
            bad = list(differ(f"{tmp}/tiny", args.out, set(), 0.0, 0.0))
    else:
        make(args.out)
    for line in bad:
        print("DIFFERENT", line)
    if not bad:
        try_out(args.out, args.pictures)
        print("tiny model reproduced" if args.check else "tiny model written")
    sys.exit(1 if bad else 0)


if __name__ == "__main__":
    main()
