#!/usr/bin/env python3
"""Print tables in Markdown from the lines of JSON that `run` collects."""

import argparse
import datetime
import json
import os
import platform
import statistics
import sys

import numpy as np

MB = 10**6
ROWS = [
    ("start-up (imports and load), s", lambda r: r.get("imports", 0.0) + r["load"]),
    ("load, s", lambda r: r["load"]),
    ("first image (with load), s", lambda r: r["first"]),
    ("encode both prompts, s", lambda r: phase(r, "encode")),
    ("per step, s", lambda r: phase(r, "step")),
    ("VAE decode, s", lambda r: phase(r, "decode")),
    ("total, s", lambda r: phase(r, "total")),
    ("peak memory, MB", lambda r: r["peak_memory"] / MB),
]
# Largest allowed ratio, ours to diffusers', by the row's first word.
TARGETS = {
    "f32": {"load": 0.2, "encode": 1.0, "per": 1.0, "VAE": 1.0, "total": 0.8, "peak": 0.6},
    "bf16": {"load": 0.2, "total": 1.2, "peak": 0.6},
}
QUIET = 0.05  # share of the CPU that others may take
IMAGE_ERROR = 1e-3  # in f32; bf16 rounds differently in the two programs, and is only printed


def phase(run, name):
    return statistics.median(t[name] for t in run["timed"])


def number(value):
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def cpu():
    try:
        with open("/proc/cpuinfo") as f:
            return next(line.split(":", 1)[1].strip() for line in f if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.machine()


def warn_of_others(runs):
    others = max(run["others"] for run in runs)
    if others > QUIET:
        print(f"\n**Not a quiet machine:** other programs took up to {others:.0%} of the CPU during a run. That slows both programs, but not alike.")


def machine(runs, commit):
    versions = {name: version for run in runs for name, version in run["versions"].items()}
    programs = ", ".join(f"{name} {version}" for name, version in versions.items())
    return f"{cpu()}, {os.cpu_count()} cores ({runs[0]['threads']} threads); {programs} (commit {commit}); {datetime.date.today()}."


def table(head, rows):
    print("| " + " | ".join(head) + " |")
    print("|---" + "|---:" * (len(head) - 1) + "|")
    for row in rows:
        print("| " + " | ".join(row) + " |")
    print()


def compare(runs, images, commit):
    """Return the problems found: missed targets."""
    missed, unlike = [], []
    first = runs[0]
    print(f"### {first['size']}x{first['size']}, {first['steps']} steps\n")
    for dtype, targets in TARGETS.items():
        theirs, ours = ([r for r in runs if r["dtype"] == dtype and r["program"] == p] for p in ("diffusers", "ovis-image"))
        if not ours:
            continue
        rows = []
        for name, value in ROWS:
            pairs = [(value(a), value(b)) for a, b in zip(theirs, ours, strict=True)]
            ratios = [b / a for a, b in pairs]
            ratio, target = statistics.median(ratios), targets.get(name.split()[0].rstrip(","))
            verdict = "–"
            if target is not None:
                met = ratio <= target
                verdict = f"{target} {'met' if met else '**missed**'}"
                if not met:
                    missed.append(f"{dtype}: {name.split(',')[0]} is {ratio:.2f} of diffusers', target {target}")
            medians = [number(statistics.median(side)) for side in zip(*pairs)]
            rows.append([name, *medians, f"{ratio:.2f} ({min(ratios):.2f}–{max(ratios):.2f})", verdict])
        table([dtype, "diffusers", "ovis-image", "ratio (min–max)", "target"], rows)
        a, b = (np.fromfile(f"{images}/{program}.{dtype}", "<f4").astype(np.float64) for program in ("diffusers", "ovis-image"))
        error = np.linalg.norm(b - a) / np.linalg.norm(a) if a.shape == b.shape else float("inf")
        print(f"Relative error of the image in {dtype}: {error:.1e}.\n")
        if dtype == "f32" and not error < IMAGE_ERROR:
            unlike.append(f"{dtype}: the images differ, relative error {error:.1e}: not the same work was compared")
    print(f"Medians of {len(ours)} rounds, each program in a process of its own, in turn. {machine(runs, commit)}")
    warn_of_others(runs)
    return missed, unlike


def step_cost(config, size, batch):
    """Return the operations of a forward: each token is multiplied with the weights of one stream, and attention is quadratic."""
    hidden = config["num_attention_heads"] * config["attention_head_dim"]
    blocks = config["num_layers"] + config["num_single_layers"]
    tokens = 256 + (size // 16) ** 2
    # a block: query, key, value and output 4, SwiGLU of four times the width 12
    linear = 2 * 16 * hidden**2 * tokens
    return batch * blocks * (linear + 4 * tokens**2 * hidden)


def decode_cost(config, size, batch):
    """Return the operations of the decoder: 3x3 convolutions, and attention in the middle."""
    low, *_, top = channels = config["block_out_channels"][::-1]
    pixels = (size // 2 ** (len(channels) - 1)) ** 2
    cost = 9 * pixels * (config["latent_channels"] * low + 4 * low * low)  # in, middle
    cost += 4 * pixels * low**2 + 2 * pixels**2 * low  # attention
    width = low
    for level, out in enumerate(channels):
        resnets = config["layers_per_block"] + 1
        cost += 9 * pixels * (width * out + (2 * resnets - 1) * out * out)
        if width != out:
            cost += pixels * width * out
        width = out
        if level + 1 < len(channels):
            pixels *= 4
            cost += 9 * pixels * out * out
    return 2 * batch * (cost + 9 * pixels * top * 3)


def scaling(runs, model, commit):
    transformer, vae = (json.load(open(f"{model}/{part}/config.json")) for part in ("transformer", "vae"))
    base = min(runs, key=lambda r: (r["size"], r["batch"], r["steps"]))
    for name, law in [
        ("size", "a step: linear in tokens (256 of text, a 256th of the pixels) plus attention's square; decode: linear in pixels plus its attention's square"),
        ("batch", "a step and decode: linear; the prompts are encoded once"),
        ("steps", "denoising: linear; encode and decode: constant"),
    ]:  # fmt: skip
        others = [k for k in ("size", "batch", "steps") if k != name]
        rows = []
        for run in sorted((r for r in runs if all(r[k] == base[k] for k in others)), key=lambda r: r[name]):
            denoise = [phase(r, "step") * r["steps"] for r in (base, run)]
            decode = [phase(r, "decode") for r in (base, run)]
            predicted = [step_cost(transformer, r["size"], r["batch"]) * r["steps"] for r in (base, run)]
            predicted_decode = [decode_cost(vae, r["size"], r["batch"]) for r in (base, run)]
            ratios = [f"{b / a:.2f}" for a, b in (denoise, predicted, decode, predicted_decode)]
            rows.append(
                [str(run[name]), number(phase(run, "encode")), number(phase(run, "step")), *ratios[:2], number(decode[1]), *ratios[2:],
                 number(run["peak_memory"] / MB)]
            )  # fmt: skip
        fixed = ", ".join(f"{k} {base[k]}" for k in others)
        print(f"By {name} ({base['dtype']}, {fixed}). Law: {law}.\n")
        table([name, "encode, s", "per step, s", "denoising ×", "by law ×", "decode, s", "decode ×", "by law ×", "peak, MB"], rows)
    print(f"× is relative to the first row; laws count multiplications and additions. {machine(runs, commit)}")
    warn_of_others(runs)


def main():
    args = argparse.ArgumentParser(description=__doc__)
    args.add_argument("command", choices=["compare", "scaling"])
    args.add_argument("results", help="folder with runs.jsonl and, to compare, the images")
    args.add_argument("--model", help="checkpoint of the runs, from which sizes are read")
    args.add_argument("--commit", default="unknown")
    args.add_argument("--check", action="store_true", help="fail if a target is missed")
    args = args.parse_args()
    with open(f"{args.results}/runs.jsonl") as f:
        runs = [json.loads(line) for line in f]
    if args.command == "scaling":
        scaling(runs, args.model, args.commit)
        return
    missed, unlike = compare(runs, args.results, args.commit)
    if problems := unlike + (missed if args.check else []):
        sys.exit("\n".join(problems))


if __name__ == "__main__":
    main()
