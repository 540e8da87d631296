#!/usr/bin/env python3
"""Write the middle-size model of random weights as two diffusers folders, `f32` and `bf16`, with the same values.

MMDiT 768 = 6 heads x 128, 2 double and 8 single blocks, context 512; encoder 512 wide, 6 layers, the release's vocabulary; the
VAE at full width. Built by diffusers' and transformers' own classes; time does not depend on the values, which are torch's
initial ones, but they must not overflow: both pictures are compared."""

import argparse
import os
import shutil
import sys

import torch
from diffusers import AutoencoderKL, FlowMatchEulerDiscreteScheduler, OvisImageTransformer2DModel
from transformers import Qwen3Model

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../tests/reference"))
import make_full_size  # noqa: E402
import small_models  # noqa: E402

MODEL = dict(
    heads=6, head_dim=128, axes=(16, 56, 56), double=2, single=8, latent_channels=16,
    vae_channels=[128, 256, 512, 512], vae_layers=2, vae_groups=32,
    text=small_models.text(512, 4, 2, 128, 1536, 1000000.0, layers=6),
)  # fmt: skip


def main():
    args = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    args.add_argument("folder", help="where to write")
    args.add_argument("--tokenizer", required=True, metavar="DIR", help="a folder with Qwen3's tokenizer.json")
    args = args.parse_args()

    torch.manual_seed(0)
    text_config = small_models.text_config(MODEL, make_full_size.VOCAB, make_full_size.PAD)
    text_config.architectures = ["Qwen3Model"]
    transformer = OvisImageTransformer2DModel(**small_models.transformer_config(MODEL))
    text = Qwen3Model(text_config)
    vae = AutoencoderKL(**{**small_models.vae_config(MODEL), "sample_size": 1024})
    # Both folders hold the same values, so that their pictures can be compared.
    models = {"transformer": transformer, "vae": vae, "text_encoder": text}
    for model in models.values():
        model.to(torch.bfloat16)
    for dtype in ("bf16", "f32"):
        folder = f"{args.folder}/{dtype}"
        os.makedirs(folder, exist_ok=True)
        for part, model in models.items():
            model.to(torch.bfloat16 if dtype == "bf16" else torch.float32)
            model.save_pretrained(f"{folder}/{part}")
        small_models.rewrite_text_config(f"{folder}/text_encoder", MODEL["text"]["rope_theta"])
        FlowMatchEulerDiscreteScheduler(**small_models.SCHEDULER).save_config(f"{folder}/scheduler")
        os.makedirs(f"{folder}/tokenizer", exist_ok=True)
        for name in make_full_size.TOKENIZER_FILES:
            if os.path.isfile(f"{args.tokenizer}/{name}"):
                shutil.copyfile(f"{args.tokenizer}/{name}", f"{folder}/tokenizer/{name}")
        make_full_size.write_json(f"{folder}/model_index.json", make_full_size.MODEL_INDEX)


if __name__ == "__main__":
    main()
