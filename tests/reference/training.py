#!/usr/bin/env python3
"""Train golden/base's transformer for 20 steps with diffusers' class and torch's AdamW, and write batches, losses, norms,
first gradients and last weights to golden/training. Batch, size and text length change from step to step.

usage: training.py [--model DIR] [--output DIR] [--steps N]

With --model, any diffusers folder is trained and the files go to --output: `replay.safetensors` is what `train --replay`
reads, and `expected.json` what it must log. Last run: 2026-11-25."""

import argparse
import json
import os

import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL, OvisImageTransformer2DModel
from safetensors.torch import save_file

HERE = os.path.dirname(os.path.abspath(__file__))
GOLDEN = os.path.join(os.path.dirname(HERE), "golden")
# batch, rows, columns, text tokens
SHAPES = [(2, 3, 4, 7), (1, 4, 4, 5), (3, 2, 5, 9)]
LEARNING_RATE = 1e-3
BETAS = (0.9, 0.95)


def ids(rows, columns, text):
    image = torch.zeros(rows, columns, 3)
    image[..., 1] += torch.arange(rows)[:, None]
    image[..., 2] += torch.arange(columns)[None, :]
    words = torch.zeros(text, 3)
    words[:, 1] = torch.arange(text)
    words[:, 2] = torch.arange(text)
    return words, image.reshape(-1, 3)


def batch(step, config, generator):
    count, rows, columns, text = SHAPES[step % len(SHAPES)]
    randn = lambda *shape: torch.randn(*shape, generator=generator)  # noqa: E731
    embeds = randn(count, text, config.joint_attention_dim)
    embeds[:, text - 2 :] = 0  # rows after the prompt
    return {
        "latents": randn(count, rows * columns, config.in_channels),
        "noise": randn(count, rows * columns, config.in_channels),
        "prompt_embeds": embeds,
        "timesteps": torch.rand(count, generator=generator) * 0.98 + 0.01,
        "grid": torch.tensor([rows, columns]),
    }


def loss_of(model, tensors):
    rows, columns = tensors["grid"].tolist()
    text_ids, image_ids = ids(rows, columns, tensors["prompt_embeds"].shape[1])
    t = tensors["timesteps"][:, None, None]
    target = tensors["noise"] - tensors["latents"]
    noisy = (1 - t) * tensors["latents"] + t * tensors["noise"]
    prediction = model(
        hidden_states=noisy,
        encoder_hidden_states=tensors["prompt_embeds"],
        timestep=tensors["timesteps"],
        txt_ids=text_ids,
        img_ids=image_ids,
        return_dict=False,
    )[0]
    return ((prediction - target) ** 2).mean()


def edges(error, measure):
    total = 0
    for size in range(3):
        if size:
            error = F.avg_pool2d(error, 2)
        total = total + measure(error[:, :, 1:] - error[:, :, :-1]).mean() + measure(error[..., 1:] - error[..., :-1]).mean()
    return total


def autoencoder(model, output):
    """Write the losses and gradients of one step of the VAE, and return its losses for both measures of errors."""
    vae = AutoencoderKL.from_pretrained(model, subfolder="vae", torch_dtype=torch.float32)
    generator = torch.Generator().manual_seed(6)
    pixels = torch.rand(2, 3, 24, 16, generator=generator) * 2 - 1
    latents = vae.encode(pixels).latent_dist
    noise = torch.randn(latents.mean.shape, generator=generator)
    error = vae.decode(latents.mean + latents.std * noise).sample - pixels
    save_file({"pixels": pixels, "noise": noise}, f"{output}/autoencoder_batch.safetensors")
    result = {}
    for name, measure in {"absolute": torch.abs, "squared": torch.square}.items():
        terms = {
            "pixels": measure(error).mean(),
            "edges": edges(error, measure),
            "divergence": 0.5 * (latents.mean**2 + latents.var - 1 - latents.logvar).mean(),
        }
        loss = terms["pixels"] + 0.7 * terms["edges"] + 0.01 * terms["divergence"]
        vae.zero_grad()
        loss.backward(retain_graph=True)
        gradients = {n: p.grad.contiguous() for n, p in vae.named_parameters()}
        if name == "absolute":
            save_file(gradients, f"{output}/autoencoder_gradients.safetensors")
        norm = torch.sqrt(sum((gradient.double() ** 2).sum() for gradient in gradients.values()))
        result[name] = {"terms": {n: value.item() for n, value in {"loss": loss, **terms}.items()}, "grad_norm": norm.item()}
    return result


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default=f"{GOLDEN}/base/model")
    parser.add_argument("--output", default=f"{GOLDEN}/training")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--weight-decay", type=float, default=0.01, help="of matrices; vectors do not decay")
    args = parser.parse_args()
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)

    model = OvisImageTransformer2DModel.from_pretrained(args.model, subfolder="transformer", torch_dtype=torch.float32)
    model.train()
    matrices = [p for p in model.parameters() if p.dim() > 1]
    vectors = [p for p in model.parameters() if p.dim() == 1]
    groups = [{"params": matrices, "weight_decay": args.weight_decay}, {"params": vectors, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=LEARNING_RATE, betas=BETAS, eps=1e-8)
    generator = torch.Generator().manual_seed(5)
    replay, log, first = {}, [], {}
    for step in range(args.steps):
        tensors = batch(step, model.config, generator)
        replay.update({f"step_{step:03}.{name}": tensor.contiguous() for name, tensor in tensors.items()})
        loss = loss_of(model, tensors)
        optimizer.zero_grad()
        loss.backward()
        if step == 0:
            first = {name: p.grad.clone() for name, p in model.named_parameters()}
        norm = torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        log.append({"step": step + 1, "loss": loss.item(), "grad_norm": norm.item()})
        print(log[-1])
    os.makedirs(args.output, exist_ok=True)
    save_file(replay, f"{args.output}/replay.safetensors")
    save_file(first, f"{args.output}/first_gradients.safetensors")
    save_file({k: v.contiguous() for k, v in model.state_dict().items()}, f"{args.output}/last_weights.safetensors")
    losses = autoencoder(args.model, args.output)
    for name in os.listdir(args.output):
        os.chmod(f"{args.output}/{name}", 0o644)
    with open(f"{args.output}/expected.json", "w") as f:
        json.dump({"weight_decay": args.weight_decay, "steps": log, "autoencoder": losses}, f, indent=1)
        f.write("\n")


if __name__ == "__main__":
    main()
