#!/usr/bin/env python3
"""Write two diffusers folders, OUTPUT/f32 and OUTPUT/bf16, for stable-diffusion.cpp: the transformer and the VAE of MODEL,
which `make_checkpoint.py` wrote, with another text encoder.

stable-diffusion.cpp takes Qwen3 with 28 layers, 16 query heads and 8 key heads only. Widths are those of the middle size."""

import argparse
import os
import shutil
import sys

import torch
from transformers import Qwen3Model

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from make_checkpoint import MODEL, PAD, VOCAB, small_models, weights  # noqa: E402


def main():
    args = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    args.add_argument("model")
    args.add_argument("output", help="output folder; must not exist yet")
    args = args.parse_args()

    theta = MODEL["text"]["rope_theta"]
    text = small_models.text(MODEL["text"]["hidden_size"], 16, 8, 128, MODEL["text"]["intermediate_size"], theta, layers=28)
    encoder = Qwen3Model(small_models.text_config(MODEL | {"text": text}, VOCAB, PAD))
    weights.fill(encoder, "middle/text_encoder", small_models.ENCODER_GAINS)
    for dtype, torch_dtype in [("f32", torch.float32), ("bf16", torch.bfloat16)]:
        folder = f"{args.output}/{dtype}"
        os.makedirs(folder)
        for part in os.listdir(f"{args.model}/{dtype}"):
            if part == "model_index.json":
                shutil.copyfile(f"{args.model}/{dtype}/{part}", f"{folder}/{part}")
            elif part != "text_encoder":
                os.symlink(os.path.abspath(f"{args.model}/{dtype}/{part}"), f"{folder}/{part}")
        encoder.to(torch_dtype).save_pretrained(f"{folder}/text_encoder")
        small_models.rewrite_text_config(f"{folder}/text_encoder", theta)


if __name__ == "__main__":
    main()
