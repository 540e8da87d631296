#!/usr/bin/env python3
"""Run bitsandbytes' AdamW8bit and transformers' Adafactor on the CPU for a few steps over recorded gradients, and write
parameters, gradients and states after each step to golden/training/optimizers.safetensors. Run by itself, with
`pip install bitsandbytes==0.50.2` beside requirements.txt.

The 8-bit state, as published (arXiv 2110.02861; bitsandbytes: `create_dynamic_map`): a moment is cut into blocks of 256 values.
A block is stored as the largest magnitude of its values, in f32, and an 8-bit code for each value: the index of the nearest
number of a map to the value over that magnitude. The map is sorted. With a sign it has 0, 1, and for each i from 0 to 6 the
2^i middles of as many equal parts of 0.1 to 1, times 10^(i - 6), and their negatives; without a sign there are 2^(i + 1) of
them. The first moment has the map with a sign, the second the one without. A step reads both moments from their codes, applies
AdamW in f32, and stores them again. Parameters of fewer than 4,096 values keep f32 moments.

Adafactor (arXiv 1804.04235) has no relative steps; `scaled` and `plain` are with and without `scale_parameter`.
Last run: 2026-12-01."""

import os

import bitsandbytes as bnb
import torch
from bitsandbytes.backends.cpu import ops as cpu
from bitsandbytes.functional import create_dynamic_map
from safetensors.torch import save_file
from transformers.optimization import Adafactor

HERE = os.path.dirname(os.path.abspath(__file__))
OUTPUT = os.path.join(os.path.dirname(HERE), "golden", "training", "optimizers.safetensors")
STEPS = 4
LEARNING_RATE = 1e-2
DECAY = 0.1

# Matrices decay, vectors do not. The first two have 8-bit moments.
EIGHT_BIT = {"matrix": [40, 113], "vector": [4100], "small": [7, 9]}
ADAFACTOR = {"matrix": [24, 40], "vector": [50], "kernel": [6, 5, 3, 3]}


def store(values, code, absmax, codes, blocksize):
    """Replace the quantization of bitsandbytes' CPU library, which rounds a value to a bin first and so misses the nearest
    number. Its CUDA kernel and its portable one take the nearest."""
    count = values.numel()
    blocks = torch.cat([values.flatten(), torch.zeros(-count % blocksize)]).view(-1, blocksize)
    absmax.copy_(blocks.abs().amax(1))
    scaled = blocks / absmax.clamp(min=1e-38)[:, None]
    nearest = torch.bucketize(scaled, (code[:-1] + code[1:]) / 2).flatten()[:count]
    library, _ = torch.ops.bitsandbytes.quantize_blockwise(values, code, blocksize)
    scaled = scaled.flatten()[:count]
    errors = [(code[choice.flatten().long()] - scaled).abs() for choice in (nearest, library)]
    assert (errors[0] <= errors[1] + 1e-7).all()
    codes.copy_(nearest.view(values.shape))


def gradient(parameter, step, generator):
    """Gradients of different sizes, so that most parts of the maps are used. None is so small beside another that its square
    is stored as 0: then, the quotient of both moments is far from that of the gradients."""
    noise = torch.randn(parameter.shape, generator=generator)
    sizes = 10 ** (-1.5 * torch.rand(parameter.shape, generator=generator))
    return noise.sign() * (0.1 + noise.abs()) * sizes * (1 + step)


def record(name, shapes, make, states):
    """Run an optimizer, and return what it did by name."""
    generator = torch.Generator().manual_seed(11)
    parameters = {key: torch.nn.Parameter(torch.randn(shape, generator=generator)) for key, shape in shapes.items()}
    groups = [
        {"params": [p for p in parameters.values() if p.dim() > 1], "weight_decay": DECAY},
        {"params": [p for p in parameters.values() if p.dim() == 1], "weight_decay": 0.0},
    ]
    optimizer = make(groups)
    result = {f"{name}.{key}.start": p.detach().clone() for key, p in parameters.items()}
    for step in range(STEPS):
        for key, parameter in parameters.items():
            parameter.grad = gradient(parameter, step, generator)
            result[f"{name}.{key}.{step}.gradient"] = parameter.grad.clone()
        optimizer.step()
        for key, parameter in parameters.items():
            result[f"{name}.{key}.{step}.parameter"] = parameter.detach().clone()
            for state in states:
                value = optimizer.state[parameter].get(state)
                if torch.is_tensor(value):
                    result[f"{name}.{key}.{step}.{state}"] = value.clone()
    return result


def main():
    torch.set_num_threads(1)
    cpu._quant_blockwise_fp32_direct = store
    tensors = {"map.signed": create_dynamic_map(signed=True), "map.unsigned": create_dynamic_map(signed=False)}
    tensors |= record(
        "adamw8bit",
        EIGHT_BIT,
        lambda groups: bnb.optim.AdamW8bit(groups, lr=LEARNING_RATE, betas=(0.9, 0.95), eps=1e-8),
        ["state1", "state2", "absmax1", "absmax2"],
    )
    for name, scale in {"scaled": True, "plain": False}.items():
        tensors |= record(
            name,
            ADAFACTOR,
            lambda groups, scale=scale: Adafactor(groups, lr=LEARNING_RATE, relative_step=False, scale_parameter=scale),
            ["exp_avg_sq", "exp_avg_sq_row", "exp_avg_sq_col"],
        )
    save_file({key: tensor.contiguous() for key, tensor in tensors.items()}, OUTPUT)
    os.chmod(OUTPUT, 0o644)


if __name__ == "__main__":
    main()
