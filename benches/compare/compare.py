#!/usr/bin/env python3
"""Runs diffusers and ovis-image in turns on the same weights and prints a table of ratios; or ovis-image alone on many sizes.
See benches/README.md; started by the script `run` beside it."""

import argparse
import datetime
import json
import os
import statistics
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
PROMPT = "A poster of a lighthouse at dusk that says OVIS in large letters, painted in oil"
ROWS = [
    # key, name, unit, most that ours may be of diffusers' by dtype
    ("load", "load", "s", {"f32": 0.2, "bf16": 0.2}),
    ("first", "first image", "s", {}),
    ("encode", "encode two prompts", "s", {"f32": 1.0}),
    ("step", "one step, guided", "s", {"f32": 1.0}),
    ("decode", "VAE decode", "s", {"f32": 1.0}),
    ("total", "whole image", "s", {"f32": 0.8, "bf16": 1.2}),
    ("peak", "peak memory", "GB", {"f32": 0.6, "bf16": 0.6}),
]


def json_of(command):
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode != 0:
        sys.exit(f"failed: {' '.join(command)}")
    return json.loads(done.stdout.strip().splitlines()[-1])


def ours(args, dtype, *more):
    return [args.binary, f"{args.model}/{dtype}", "--dtype", dtype, "--prompt", PROMPT, *more]


def theirs(args, dtype, *more):
    script = f"{HERE}/run_diffusers.py"
    return [sys.executable, script, f"{args.model}/{dtype}", "--dtype", dtype, "--prompt", PROMPT, "--threads", str(args.threads), *more]


def machine(args):
    with open("/proc/cpuinfo") as f:
        name = next((line.split(":")[1].strip() for line in f if line.startswith("model name")), "CPU")
    import diffusers
    import torch

    date = datetime.date.today().isoformat()
    return f"{name}, {args.threads} threads, torch {torch.__version__}, diffusers {diffusers.__version__}, {date}"


def difference(a, b):
    import numpy as np

    a, b = (np.fromfile(path, "<f4").astype("f8") for path in (a, b))
    return float(np.linalg.norm(a - b) / np.linalg.norm(b))


def show(value, unit):
    return f"{value / 1e9:.2f}" if unit == "GB" else f"{value:.3f}"


def compare(args):
    missed = []
    for dtype in args.dtypes.split(","):
        runs = []
        with tempfile.TemporaryDirectory() as folder:
            images = [f"{folder}/theirs", f"{folder}/ours"]
            for _ in range(args.rounds):
                # In turns, and each in a process of its own: both meet the same machine.
                reference = json_of(theirs(args, dtype, "--image", images[0]))
                result = json_of(ours(args, dtype, "--image", images[1]))
                runs.append((reference, result))
            error = difference(images[1], images[0])
        print(f"\n{dtype}, 256x256, 4 steps, guidance 5, median of {args.rounds} rounds\n")
        print("| | diffusers | ovis-image | ratio (least to most) | target |")
        print("|---|---|---|---|---|")
        for key, name, unit, targets in ROWS:
            ratios = [b[key] / a[key] for a, b in runs]
            ratio = statistics.median(ratios)
            target = targets.get(dtype)
            if target is not None and ratio > target:
                missed.append(f"{dtype} {name}: {ratio:.2f} > {target}")
            medians = [show(statistics.median(run[side][key] for run in runs), unit) for side in (0, 1)]
            print(
                f"| {name}, {unit} | {medians[0]} | {medians[1]} | {ratio:.2f} ({min(ratios):.2f} to {max(ratios):.2f}) "
                f"| {target or ''} |"
            )
        print(f"\nThe images differ by {error:.1e} (relative, L2).")
        if dtype == "f32" and not error < 1e-3:
            missed.append(f"the images differ by {error:.1e}")
    print(f"\n{machine(args)}")
    for line in missed:
        print(f"missed: {line}")
    sys.exit(bool(missed) and args.check)


def flops(size, batch, steps):
    """Of the middle-size transformer with guidance: products of the blocks' weights, and attention."""
    hidden, blocks, text = 768, 10, 256
    tokens = text + (size // 16) ** 2
    linear = 2 * tokens * 16 * hidden * hidden * blocks
    attention = 4 * tokens * tokens * hidden * blocks
    return 2 * batch * steps * (linear + attention)


def scaling(args):
    cases = [("size", size, (size, 1, 2)) for size in (256, 512, 768, 1024)]
    cases += [("batch", batch, (256, batch, 2)) for batch in (1, 2, 4)]
    cases += [("steps", steps, (256, 1, steps)) for steps in (1, 2, 4, 8)]
    first = {}
    print("| | denoise, s | law | measured | VAE decode, s | law | measured | peak, GB |")
    print("|---|---|---|---|---|---|---|---|")
    for kind, value, (size, batch, steps) in cases:
        options = ["--size", str(size), "--batch", str(batch), "--steps", str(steps), "--cold"]
        run = json_of(ours(args, args.dtypes.split(",")[0], *options))
        work, pixels = flops(size, batch, steps), batch * size * size
        denoise = run["step"] * steps
        base = first.setdefault(kind, (work, pixels, denoise, run["decode"]))
        print(
            f"| {kind} {value} | {denoise:.2f} | {work / base[0]:.2f} | {denoise / base[2]:.2f} | {run['decode']:.2f} "
            f"| {pixels / base[1]:.2f} | {run['decode'] / base[3]:.2f} | {run['peak'] / 1e9:.2f} |",
            flush=True,
        )
    print(f"\n{machine(args)}")


def main():
    args = argparse.ArgumentParser(description=__doc__)
    args.add_argument("--model", required=True, help="the folder of make_model.py")
    args.add_argument("--binary", required=True, help="this library's side, built")
    args.add_argument("--rounds", type=int, default=3)
    args.add_argument("--dtypes", default="f32,bf16")
    args.add_argument("--threads", type=int, default=os.cpu_count())
    args.add_argument("--scaling", action="store_true", help="ovis-image alone against size, batch and steps")
    args.add_argument("--check", action="store_true", help="fail when a target is missed")
    args = args.parse_args()
    scaling(args) if args.scaling else compare(args)


if __name__ == "__main__":
    main()
