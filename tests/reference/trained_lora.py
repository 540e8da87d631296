#!/usr/bin/env python3
"""Train a LoRA with this repository's `train lora`, and compare the images that `generate --lora` and diffusers draw with it.

    python3 tests/reference/trained_lora.py --train target/release/train --generate target/release/generate

A color that the embedded model does not know is learned from four images, for 40 steps. diffusers loads the adapter with
PEFT, starts from the same latents and must draw the same image (1e-4 of its range, f32), which must differ from the one
without the adapter. The other way, adapters that PEFT wrote, is a golden (`lora_files.py`). Last run: 2026-12-01."""

import argparse
import os
import subprocess
import sys
import tempfile

import numpy as np
import torch
from PIL import Image
from safetensors.torch import load_file

sys.dont_write_bytecode = True
import pipeline  # noqa: E402

HERE = os.path.dirname(os.path.abspath(__file__))
NANO = os.path.join(HERE, "../../ovis-image-examples/assets/nano")
PROMPT = 'a sign in ovsstyle with the word "AB"'
SIDE, STEPS, GUIDANCE = 64, 20, 3.0
TOLERANCE = 1e-4


def run(program, *arguments):
    subprocess.run([program, *map(str, arguments)], check=True, stdout=subprocess.DEVNULL)


def train(program, folder):
    """Return the file of an adapter."""
    photos = os.path.join(folder, "photos")
    os.makedirs(photos)
    for number in range(4):
        pixels = np.full((SIDE, SIDE, 3), (240, 120, 180), np.uint8)
        pixels[24:40, 16 + 4 * number : 40 + 4 * number] = 255
        Image.fromarray(pixels).save(os.path.join(photos, f"{number}.png"))
    adapter = os.path.join(folder, "style.safetensors")
    settings = f"--resolution {SIDE} --rank 8 --steps 40 --batch-size 4 --learning-rate 5e-3 --dtype f32"
    more = "--max-sequence-length 64 --sample-every 0 --device flex --trigger ovsstyle"
    run(program, "lora", "--images", photos, "--model", NANO, "--output", adapter, *settings.split(), *more.split())
    return adapter


def ours(program, folder, adapter):
    """Return the initial latents and the image with an adapter, or without one."""
    dump = os.path.join(folder, "dump.safetensors")
    sizes = f"-W {SIDE} -H {SIDE} --steps {STEPS} --guidance-scale {GUIDANCE} --dtype f32 --device flex --seed 5"
    lora = ["--lora", adapter] if adapter else []
    output = os.path.join(folder, "image.png")
    run(program, "--prompt", PROMPT, *sizes.split(), *lora, "--dump", dump, "--output", output)
    tensors = load_file(dump)
    return tensors["latents_in"], tensors["image"]


@torch.no_grad()
def theirs(adapter, latents):
    pipe = pipeline.load(NANO, "f32")
    pipe.transformer.load_lora_adapter(load_file(adapter), prefix="transformer")
    _, channels, height, width = latents.shape
    packed = pipe._pack_latents(latents, 1, channels, height, width)
    return pipe(
        prompt=PROMPT,
        guidance_scale=GUIDANCE,
        height=SIDE,
        width=SIDE,
        num_inference_steps=STEPS,
        max_sequence_length=64,
        latents=packed,
        output_type="pt",
    ).images


def main():
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--train", required=True)
    arguments.add_argument("--generate", required=True)
    arguments = arguments.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        adapter = train(arguments.train, folder)
        _, without = ours(arguments.generate, folder, None)
        latents, image = ours(arguments.generate, folder, adapter)
        reference = theirs(adapter, latents)
    reference = reference.reshape(image.shape)
    error = (image - reference).abs().max().item()
    change = (image - without).abs().mean().item()
    print(f"largest difference from diffusers: {error:.1e} of 1; mean change by the adapter: {change:.3f}")
    if not error <= TOLERANCE < change:
        sys.exit("the images are not the same, or the adapter changed nothing")


if __name__ == "__main__":
    main()
