#!/usr/bin/env python3
"""Write the middle size with random weights as two diffusers folders, DIR/f32 and DIR/bf16, with the same values."""

import argparse
import os
import shutil
import sys

import torch
from diffusers import AutoencoderKL, FlowMatchEulerDiscreteScheduler, OvisImageTransformer2DModel
from diffusers.utils import logging as diffusers_logging
from transformers import Qwen3Model
from transformers.utils import logging as transformers_logging

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../tests/reference"))
import small_models  # noqa: E402
import weights  # noqa: E402
from make_full_size import MODEL_INDEX, PAD, TOKENIZER_FILES, VOCAB, write_json  # noqa: E402

# The MMDiT of benches/src/lib.rs; heads of 128 everywhere and the VAE as in the release.
MODEL = dict(
    heads=6, head_dim=128, axes=(16, 56, 56), double=2, single=8, latent_channels=16,
    vae_channels=[128, 256, 512, 512], vae_layers=2, vae_groups=32,
    text=small_models.text(512, 4, 2, 128, 1536, 1000000.0, layers=6),
)  # fmt: skip


def main():
    args = argparse.ArgumentParser(description=__doc__)
    args.add_argument("folder", help="output folder; must not exist yet")
    args.add_argument("--tokenizer", required=True, metavar="DIR", help="folder with Qwen3's tokenizer.json, which is copied unchanged")
    args = args.parse_args()
    diffusers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()

    parts = [
        ("transformer", OvisImageTransformer2DModel(**small_models.transformer_config(MODEL)), small_models.TRANSFORMER_GAINS),
        ("vae", AutoencoderKL(**small_models.vae_config(MODEL)), small_models.VAE_GAINS),
        ("text_encoder", Qwen3Model(small_models.text_config(MODEL, VOCAB, PAD)), small_models.ENCODER_GAINS),
    ]
    for part, model, gains in parts:
        weights.fill(model, f"middle/{part}", gains)  # every value is exact in bfloat16

    unfinished = f"{args.folder}.unfinished"
    shutil.rmtree(unfinished, ignore_errors=True)
    for dtype, torch_dtype in [("f32", torch.float32), ("bf16", torch.bfloat16)]:
        folder = f"{unfinished}/{dtype}"
        for part, model, _ in parts:
            model.to(torch_dtype).save_pretrained(f"{folder}/{part}")
        small_models.rewrite_text_config(f"{folder}/text_encoder", MODEL["text"]["rope_theta"])
        FlowMatchEulerDiscreteScheduler(**small_models.SCHEDULER).save_pretrained(f"{folder}/scheduler")
        os.mkdir(f"{folder}/tokenizer")
        for name in TOKENIZER_FILES:
            if os.path.isfile(f"{args.tokenizer}/{name}"):
                shutil.copyfile(f"{args.tokenizer}/{name}", f"{folder}/tokenizer/{name}")
        write_json(f"{folder}/model_index.json", MODEL_INDEX)
    os.rename(unfinished, args.folder)


if __name__ == "__main__":
    main()
