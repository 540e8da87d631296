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
PROGRAMS = ("diffusers", "ovis-image", "stable-diffusion.cpp")


def phase(run, name):
    return statistics.median(t[name] for t in run["timed"])


def of(case, value):
    """Return a row's function: the value of a program's run in a round, or None if the run is missing or was stopped."""

    def find(runs, program, dtype):
        run = runs.get((program, dtype, case))
        return value(run) if run and "limit" not in run else None

    return find


def peak_memory(runs, program, dtype):
    run = runs.get((program, dtype, "image"))
    return run and run["peak_memory"] / MB  # of a run that was stopped, what it took until then


total = of("image", lambda r: phase(r, "total"))


def faster_call(runs, dtype):
    """Return diffusers' warm call: bf16 weights compete with the faster of its dtypes, f32 with f32."""
    calls = [total(runs, "diffusers", d) for d in ("f32", dtype)]
    return min((call for call in calls if call is not None), default=None)


def whole_process(runs, program, dtype):
    if program == "diffusers":
        return faster_call(runs, dtype)
    # stable-diffusion.cpp generates once in each process.
    run = runs.get((program, dtype, "process" if program == "ovis-image" else "image"))
    return run and run["wall"]


def total_of_faster(runs, program, dtype):
    return faster_call(runs, dtype) if program == "diffusers" else total(runs, program, dtype)


# Name, key of its target, and value of a program in a round.
ROWS = [
    ("start-up (imports and load), s", "", of("image", lambda r: r.get("imports", 0.0) + r["load"])),
    ("load, s", "load", of("image", lambda r: r["load"])),
    ("first image (with load), s", "", of("image", lambda r: r.get("first"))),
    ("encode both prompts, s", "encode", of("image", lambda r: phase(r, "encode"))),
    ("per step, s", "step", of("image", lambda r: phase(r, "step"))),
    ("VAE decode, s", "decode", of("image", lambda r: phase(r, "decode"))),
    ("total, s", "total", total),
    ("peak memory, MB", "memory", peak_memory),
]
ROWS_OF = {
    "f32": [
        *ROWS,
        ("VAE decode 512x512, s", "decode 512", of("decode", lambda r: phase(r, "decode"))),
        ("whole process (diffusers: warm call), s", "process", whole_process),
    ],
    "bf16": [
        *ROWS,
        ("total (diffusers: faster of f32 and bf16), s", "faster total", total_of_faster),
        ("whole process (diffusers: faster warm call), s", "process", whole_process),
    ],
}
# Largest allowed ratio, ours to diffusers', by dtype and row; by instruction set where it depends on that.
TARGETS = {
    "f32": {
        "load": 0.2, "encode": 1.0, "step": 1.0, "decode": 1.0, "total": 0.8, "memory": 0.5, "decode 512": 0.6,
        "process": {"avx2": 0.8, "avx512": 0.5, "avx512-bf16": 0.5},
    },
    "bf16": {"load": 0.2, "total": 1.2, "memory": 0.35, "faster total": 0.8, "process": 0.8},
}  # fmt: skip
QUIET = 0.05  # share of the CPU that others may take
IMAGE_ERROR = 1e-3  # in f32; bf16 rounds differently in the two programs, and is only printed


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
    versions = {name: version for run in runs for name, version in run.get("versions", {}).items()}
    programs = ", ".join(f"{name} {version}" for name, version in versions.items())
    threads = next(run["threads"] for run in runs if "threads" in run)
    return f"{cpu()}, {os.cpu_count()} cores ({threads} threads); {programs} (commit {commit}); {datetime.date.today()}."


def table(head, rows):
    print("| " + " | ".join(head) + " |")
    print("|---" + "|---:" * (len(head) - 1) + "|")
    for row in rows:
        print("| " + " | ".join(row) + " |")
    print()


def target_of(dtype, key, instruction_set):
    target = TARGETS[dtype].get(key)
    return target.get(instruction_set) if isinstance(target, dict) else target


def median_or_dash(values):
    values = [value for value in values if value is not None]
    return number(statistics.median(values)) if values else "–"


def compare_row(name, value, rounds, dtype, target):
    """Return the cells of a row, and its ratio if it misses the target."""
    sides = [[value(runs, program, dtype) for runs in rounds] for program in PROGRAMS]
    cells = [name, *map(median_or_dash, sides)]
    ratios = [b / a for a, b in zip(*sides[:2]) if a is not None and b is not None]
    if not ratios:
        return [*cells, "–", "–"], None
    ratio = statistics.median(ratios)
    cells.append(f"{ratio:.2f} ({min(ratios):.2f}–{max(ratios):.2f})")
    if target is None:
        return [*cells, "–"], None
    if ratio <= target:
        return [*cells, f"{target} met"], None
    if value is peak_memory and was_stopped(rounds, dtype):
        return [*cells, f"{target}, not known"], None  # diffusers may have taken more later
    return [*cells, f"{target} **missed**"], ratio


def was_stopped(rounds, dtype):
    """Return the limit in seconds that diffusers exceeded, if it did."""
    runs = [r.get(("diffusers", dtype, "image")) or {} for r in rounds]
    return next((run["limit"] for run in runs if "limit" in run), None)


def image_error(images, dtype, instruction_set):
    paths = [f"{images}/{program}.{dtype}.{instruction_set}" for program in PROGRAMS[:2]]
    if not all(map(os.path.exists, paths)):
        return None
    a, b = (np.fromfile(path, "<f4").astype(np.float64) for path in paths)
    return np.linalg.norm(b - a) / np.linalg.norm(a) if a.shape == b.shape else float("inf")


def compare_set(runs, images, instruction_set):
    """Print the tables of an instruction set; return the targets that were missed, and unlike images."""
    missed, unlike = [], []
    rounds = {}
    for run in runs:
        rounds.setdefault(run["round"], {})[run["program"], run["dtype"], run["case"]] = run
    rounds = list(rounds.values())
    peer = any(run["program"] == PROGRAMS[2] for run in runs)
    for dtype, rows in ROWS_OF.items():
        cells = []
        for name, key, value in rows:
            target = target_of(dtype, key, instruction_set)
            row, ratio = compare_row(name, value, rounds, dtype, target)
            cells.append(row if peer else row[:3] + row[4:])
            if ratio is not None:
                missed.append(f"{instruction_set}, {dtype}: {name} is {ratio:.2f} of diffusers', target {target}")
        programs = PROGRAMS if peer else PROGRAMS[:2]
        table([f"{instruction_set}, {dtype}", *programs, "ours / diffusers (min–max)", "target"], cells)
        if limit := was_stopped(rounds, dtype):
            print(f"diffusers in {dtype} was stopped after {limit:.0f} s; its memory is what it took until then.\n")
        if (error := image_error(images, dtype, instruction_set)) is not None:
            print(f"Relative error of the image in {dtype}: {error:.1e}.\n")
            if dtype == "f32" and not error < IMAGE_ERROR:
                unlike.append(f"{instruction_set}, {dtype}: the images differ, relative error {error:.1e}: not the same work was compared")
    if peer:
        print(
            "stable-diffusion.cpp: its own times of its only generation, with the instructions it was built for. Its text encoder "
            "is larger, because it takes Qwen3's number of layers and heads only: compare steps and VAE.\n"
        )
    return missed, unlike


def compare(runs, images, commit):
    """Return the problems found: missed targets, and images that differ."""
    missed, unlike = [], []
    image = next(run for run in runs if run["case"] == "image" and "limit" not in run)
    for instruction_set in dict.fromkeys(run["instruction_set"] for run in runs):
        print(f"### {instruction_set} of {cpu()}, {image['size']}x{image['size']}, {image['steps']} steps\n")
        of_set = [run for run in runs if run["instruction_set"] == instruction_set]
        for found, more in zip((missed, unlike), compare_set(of_set, images, instruction_set)):
            found.extend(more)
    rounds = max(run["round"] for run in runs)
    print(f"Medians of {rounds} rounds, each program in a process of its own, in turn. {machine(runs, commit)}")
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
