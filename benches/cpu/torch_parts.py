"""Time the expensive parts with torch and print one JSON object, as `../src/bin/cpu` does.

usage: torch_parts.py [--repeats N] [--no-vae]

Which instructions torch, MKL and oneDNN use is decided by environment variables that `run` sets."""

import argparse
import json
import os
import statistics
import time

import torch
import torch.nn.functional as F

TOKENS = 512
HEAD_DIM = 128


def median(repeats, run):
    run()
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds)


def decode_flops(side):
    """Operations of FLUX.1's decoder, as `decode_flops` in ../src/lib.rs counts them."""
    widths, latent, layers = [128, 256, 512, 512], 16, 2
    top, pixels = widths[-1], (side // 8) ** 2

    def linear(rows, a, b):
        return 2 * rows * a * b

    flops = linear(pixels, 9 * latent, top) + 4 * linear(pixels, 9 * top, top)
    flops += linear(pixels, top, 4 * top) + 4 * pixels * pixels * top
    width = top
    for level, out in enumerate(reversed(widths)):
        flops += linear(pixels, 9 * width, out) + (2 * layers + 1) * linear(pixels, 9 * out, out)
        flops += linear(pixels, width, out) if width != out else 0
        width = out
        if level + 1 < len(widths):
            pixels *= 4
            flops += linear(pixels, 9 * width, width)
    return flops + linear(pixels, 9 * width, 3)


def decoder(dtype):
    from diffusers import AutoencoderKL

    vae = AutoencoderKL(
        in_channels=3, out_channels=3, latent_channels=16, block_out_channels=(128, 256, 512, 512), layers_per_block=2,
        down_block_types=("DownEncoderBlock2D",) * 4, up_block_types=("UpDecoderBlock2D",) * 4, norm_num_groups=32,
        use_quant_conv=False, use_post_quant_conv=False,
    )  # fmt: skip
    return vae.to(dtype).eval().decoder


@torch.inference_mode()
def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--no-vae", action="store_true")
    args = parser.parse_args()
    # With AVX2 only, torch's bf16 products are emulated and do not end in minutes.
    emulated = os.environ.get("ATEN_CPU_CAPABILITY") == "avx2"
    rates = {}
    for name, dtype in [("f32", torch.float32)] + ([] if emulated else [("bf16", torch.bfloat16)]):
        for size, hidden in [("middle", 768), ("7B", 3072)]:
            x, weight = torch.randn(TOKENS, hidden).to(dtype), torch.randn(11 * hidden, hidden).to(dtype)
            flops = 2 * TOKENS * hidden * 11 * hidden
            rates[f"{size} {name}/linear layer"] = flops / median(args.repeats, lambda: F.linear(x, weight)) / 1e9
        for size, heads, tokens in [("middle", 6, TOKENS), ("7B", 24, TOKENS), ("1024x1024", 6, 4352)]:
            q, k, v = (torch.randn(1, heads, tokens, HEAD_DIM).to(dtype) for _ in range(3))
            seconds = median(args.repeats, lambda: F.scaled_dot_product_attention(q, k, v))
            rates[f"{size} {name}/joint attention"] = 4 * tokens * tokens * heads * HEAD_DIM / seconds / 1e9
        image, weight = torch.randn(1, 256, 256, 256).to(dtype), torch.randn(256, 256, 3, 3).to(dtype)
        flops = 2 * 256 * 256 * 9 * 256 * 256
        rates[f"256x256 {name}/3x3 convolution"] = flops / median(args.repeats, lambda: F.conv2d(image, weight, padding=1)) / 1e9
        if not args.no_vae:
            model, latents = decoder(dtype), torch.randn(1, 16, 64, 64).to(dtype)
            seconds = median(min(args.repeats, 3), lambda: model(latents))
            rates[f"{name}/VAE decode to 512x512"] = decode_flops(512) / seconds / 1e9
    print(json.dumps({"threads": torch.get_num_threads(), "torch": torch.__version__, "gflops": rates}))


if __name__ == "__main__":
    main()
