#!/usr/bin/env python3
"""Time steps of training with torch and diffusers: flow matching, AdamW, clipping. Prints one JSON object; `run` compares it
with this library's."""

import argparse
import json
import os
import time

import torch
from diffusers import OvisImageTransformer2DModel

SIZES = {
    "nano": dict(heads=4, head_dim=64, axes=(8, 28, 28), double=2, single=4, context=256, image=(8, 8), text=64),
    "middle": dict(heads=6, head_dim=128, axes=(16, 56, 56), double=2, single=8, context=512, image=(16, 16), text=256),
}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", choices=SIZES, default="nano")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--dtype", choices=["f32", "bf16"], default="f32")
    parser.add_argument("--steps", type=int, default=5)
    args = parser.parse_args()
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    torch.manual_seed(0)
    s = SIZES[args.size]
    model = OvisImageTransformer2DModel(
        patch_size=1, in_channels=64, out_channels=64, num_layers=s["double"], num_single_layers=s["single"],
        attention_head_dim=s["head_dim"], num_attention_heads=s["heads"], joint_attention_dim=s["context"], axes_dims_rope=s["axes"],
    )  # fmt: skip
    model.train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, betas=(0.9, 0.95), weight_decay=0.01)
    rows, columns = s["image"]
    image_ids = torch.zeros(rows, columns, 3)
    image_ids[..., 1] += torch.arange(rows)[:, None]
    image_ids[..., 2] += torch.arange(columns)[None, :]
    text_ids = torch.zeros(s["text"], 3)
    text_ids[:, 1] = text_ids[:, 2] = torch.arange(s["text"])
    latents = torch.randn(args.batch, rows * columns, 64)
    embeds = torch.randn(args.batch, s["text"], s["context"])
    seconds, losses = [], []
    for _ in range(args.steps + 1):
        start = time.perf_counter()
        noise = torch.randn_like(latents)
        t = torch.rand(args.batch)
        with torch.autocast("cpu", torch.bfloat16, enabled=args.dtype == "bf16"):
            prediction = model(
                hidden_states=(1 - t[:, None, None]) * latents + t[:, None, None] * noise,
                encoder_hidden_states=embeds, timestep=t, txt_ids=text_ids, img_ids=image_ids.reshape(-1, 3), return_dict=False,
            )[0]  # fmt: skip
        loss = ((prediction.float() - (noise - latents)) ** 2).mean()
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        losses.append(loss.item())
        seconds.append(time.perf_counter() - start)
    with open("/proc/self/status") as f:
        peak = next(int(line.split()[1]) * 1024 for line in f if line.startswith("VmHWM"))
    print(json.dumps({"seconds": seconds[1:], "peak_memory": peak, "losses": losses}))


if __name__ == "__main__":
    main()
