#!/usr/bin/env python3
"""Train a small model on eight images only, and measure that it learns them: the validation loss on the same images must
fall below a fifth of the first, and every image that is drawn for a caption must come within 25 dB of the one with it. The first validation is after 200 steps.

    tests/overfitting.py --programs target/release --output overfitting        # needs Pillow and numpy

`dataset`, `train` and `generate` are built with their features. Takes ten minutes on two cores. Last run: 2026-12-01."""

import argparse
import json
import os
import subprocess
import sys

import numpy as np
from PIL import Image

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
IMAGES, COPIES, STEPS, SIDE = 8, 20, 2000, 128
LEAST_DB, GREATEST_SHARE = 25.0, 0.2


def call(programs, name, *arguments):
    subprocess.run([os.path.join(programs, name), *map(str, arguments)], check=True, stdout=subprocess.DEVNULL)


def copies(folder):
    """List each image under several names, of which a part is held out for validation."""
    manifest = os.path.join(folder, "manifest.jsonl")
    with open(manifest, encoding="utf-8") as file:
        rows = [json.loads(line) for line in file]
    with open(manifest, "w", encoding="utf-8") as file:
        for row in rows:
            stem, ending = os.path.splitext(row["image"])
            for copy in range(COPIES):
                name = f"{stem}-{copy}{ending}"
                os.link(os.path.join(folder, row["image"]), os.path.join(folder, name))
                file.write(json.dumps(row | {"image": name}) + "\n")
    return rows


def validations(run):
    with open(os.path.join(run, "log.jsonl"), encoding="utf-8") as file:
        lines = [json.loads(line) for line in file]
    return [line["validation"] for line in lines if "validation" in line]


def pixels(path):
    return np.asarray(Image.open(path).convert("RGB"), float)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--programs", required=True)
    parser.add_argument("--output", required=True, help="folder that does not exist yet")
    parser.add_argument("--device", default="flex")
    arguments = parser.parse_args()
    os.makedirs(arguments.output)
    data, run = (os.path.join(arguments.output, name) for name in ("data", "run"))
    examples = os.path.join(ROOT, "ovis-image-examples")

    call(arguments.programs, "dataset", "synthesize", "--preset", "signs", "--count", IMAGES, "-W", SIDE, "-H", SIDE, "-o", data)
    rows = copies(data)
    settings = f"--steps {STEPS} --batch-size 8 --learning-rate 1e-3 --lr-schedule linear --warmup-steps 50 --weight-decay 0"
    text = "--train-text-encoder --max-sequence-length 64 --prompt-dropout 0 --timesteps logit-normal:0.9:1.5 --languages en"
    rest = f"--validate-every 200 --sample-every 0 --ema-decay 0.99 --device {arguments.device}"
    models = ["--from-configs", os.path.join(examples, "configs/nano"), "--vae", os.path.join(examples, "assets/nano")]
    call(arguments.programs, "train", "--stage", "flow", *models, "--data", data, *f"{settings} {text} {rest}".split(), "-o", run)
    losses = validations(run)
    share = losses[-1] / losses[0]
    print(f"validation: {losses[0]:.3f} at first, {losses[-1]:.3f} at last: {share:.2f} of it")

    ratios = []
    for number, row in enumerate(rows):
        image = os.path.join(arguments.output, f"{number}.png")
        sizes = f"-W {SIDE} -H {SIDE} --steps 20 --guidance-scale 1 --dtype f32 --seed {number} --device {arguments.device}"
        model = ["--model", os.path.join(run, "model-ema"), "--max-sequence-length", "64"]
        call(arguments.programs, "generate", *model, "--prompt", row["caption_en"], *sizes.split(), "-o", image)
        error = np.mean((pixels(image) - pixels(os.path.join(data, row["image"]))) ** 2)
        ratios.append(10 * np.log10(255**2 / error))
    print("PSNR, dB:", ", ".join(f"{ratio:.1f}" for ratio in ratios))
    if share >= GREATEST_SHARE or min(ratios) < LEAST_DB:
        sys.exit("the model did not learn its images")


if __name__ == "__main__":
    main()
