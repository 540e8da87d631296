#!/usr/bin/env python3
"""Train LoRAs of golden/lora for 20 steps with diffusers, PEFT and torch's AdamW on the batches of golden/training, and write
losses, norms, first gradients and last weights to golden/training/lora. The base is frozen; the learning rate and the optimizer
are those of `training.py`.

usage: lora_training.py [--model DIR] [--replay FILE] [--adapters DIR] [--output DIR] [--steps N]

With --model, --replay and --adapters, any diffusers folder and adapter is trained; `expected.json` is what `train lora --replay`
must log. Last run: 2026-11-25."""

import argparse
import json
import os

import torch
from diffusers import OvisImageTransformer2DModel
from peft import LoraConfig, get_peft_model_state_dict, inject_adapter_in_model, set_peft_model_state_dict
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from training import BETAS, GOLDEN, LEARNING_RATE, loss_of

ADAPTERS = {"all": "all/pytorch_lora_weights.safetensors", "attention": "attention/adapter_model.safetensors"}


def settings_of(file):
    """Return PEFT's configuration of an adapter, from the file's metadata or from beside it."""
    with safe_open(file, "pt") as opened:
        text = (opened.metadata() or {}).get("lora_adapter_metadata")
    if text is None:
        with open(os.path.join(os.path.dirname(file), "adapter_config.json")) as beside:
            text = beside.read()
    settings = json.loads(text)
    names = ["r", "lora_alpha", "target_modules", "use_rslora", "rank_pattern", "alpha_pattern"]
    return LoraConfig(init_lora_weights=False, **{name: settings[name] for name in names})


def attach(model, file):
    state = {k.removeprefix("base_model.model."): v for k, v in load_file(file).items()}
    config = settings_of(file)
    # PEFT's own short form of the modules matches more than the file has.
    config.target_modules = {k.rsplit(".lora_", 1)[0] for k in state}
    inject_adapter_in_model(config, model, adapter_name="default")
    result = set_peft_model_state_dict(model, state, adapter_name="default")
    assert not result.unexpected_keys, result.unexpected_keys
    model.requires_grad_(False)
    adapters = {n.replace(".default.", "."): p for n, p in model.named_parameters() if "lora_" in n}
    for parameter in adapters.values():
        parameter.requires_grad_(True)
    assert adapters.keys() == state.keys(), adapters.keys() ^ state.keys()
    return adapters


def train(model, file, replay, steps):
    model = OvisImageTransformer2DModel.from_pretrained(model, subfolder="transformer", torch_dtype=torch.float32)
    adapters = attach(model, file)
    model.train()
    optimizer = torch.optim.AdamW(adapters.values(), lr=LEARNING_RATE, betas=BETAS, eps=1e-8, weight_decay=0.01)
    log, first = [], {}
    for step in range(steps):
        names = ["latents", "noise", "prompt_embeds", "timesteps", "grid"]
        loss = loss_of(model, {name: replay[f"step_{step:03}.{name}"] for name in names})
        optimizer.zero_grad()
        loss.backward()
        if step == 0:
            first = {name: p.grad.clone() for name, p in adapters.items()}
        norm = torch.nn.utils.clip_grad_norm_(adapters.values(), 1.0)
        optimizer.step()
        log.append({"step": step + 1, "loss": loss.item(), "grad_norm": norm.item()})
    last = get_peft_model_state_dict(model, adapter_name="default")
    return log, first, {k: v.detach().clone().contiguous() for k, v in last.items()}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default=f"{GOLDEN}/base/model")
    parser.add_argument("--replay", default=f"{GOLDEN}/training/replay.safetensors")
    parser.add_argument("--adapters", default=f"{GOLDEN}/lora")
    parser.add_argument("--output", default=f"{GOLDEN}/training/lora")
    parser.add_argument("--steps", type=int, default=20)
    args = parser.parse_args()
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)

    os.makedirs(args.output, exist_ok=True)
    expected, replay = {}, load_file(args.replay)
    for name, file in ADAPTERS.items():
        log, first, last = train(args.model, f"{args.adapters}/{file}", replay, args.steps)
        expected[name] = log
        save_file(first, f"{args.output}/{name}_first_gradients.safetensors")
        save_file(last, f"{args.output}/{name}_last_weights.safetensors")
        print(name, log[0], log[-1])
    with open(f"{args.output}/expected.json", "w") as f:
        json.dump(expected, f, indent=1)
        f.write("\n")
    for name in os.listdir(args.output):
        os.chmod(f"{args.output}/{name}", 0o644)


if __name__ == "__main__":
    main()
