#!/usr/bin/env python3
"""Compare the speed of step caches with the distance from the image without one: `step_caches.py GENERATE MODEL` prints a table.

GENERATE is the built command, MODEL a checkpoint (benches/compare/run makes one of a middle size). Runs with and without a
cache alternate, and each cached run is compared with the uncached run before it. Needs the packages of tests/reference/requirements.txt.
"""

import argparse
import json
import os
import statistics
import subprocess
import tempfile

from safetensors.numpy import load_file

CACHES = (
    "first-block:0.05 first-block:0.1 first-block:0.2 first-block:0.4 tea:0.1 tea:0.2 tea:0.4 "
    "taylor:2:1:3 taylor:3:1:3 taylor:5:1:3 taylor:3:2:3"
).split()


def run(args, cache, dump):
    command = [
        args.generate, "--model", args.model, "--device", args.device, "--dtype", args.dtype, "--prompt", "a lighthouse at dusk",
        "--width", str(args.side), "--height", str(args.side), "--steps", str(args.steps), "--guidance-scale", "5", "--seed", "7",
        "--json", "--dump", dump, "--output", dump.replace(".safetensors", ".png"),
    ] + (["--step-cache", cache] if cache else [])  # fmt: skip
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout), load_file(dump)


def distance(a, b):
    a, b = a.astype("f8"), b.astype("f8")
    return ((a - b) ** 2).sum() ** 0.5 / (b**2).sum() ** 0.5


def main():
    ap = argparse.ArgumentParser(description=__doc__)
    ap.add_argument("generate")
    ap.add_argument("model")
    ap.add_argument("--device", default="flex")
    ap.add_argument("--dtype", default="bf16")
    ap.add_argument("--side", type=int, default=256)
    ap.add_argument("--steps", type=int, default=50)
    ap.add_argument("--rounds", type=int, default=1)
    ap.add_argument("--caches", nargs="+", default=CACHES)
    args = ap.parse_args()
    print("| cache | skipped | denoising, times as fast (min–max) | latents | image |\n|---|---:|---:|---:|---:|", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        for cache in args.caches:
            ratios = []
            for _ in range(args.rounds):
                plain, expected = run(args, None, os.path.join(folder, "plain.safetensors"))
                cached, actual = run(args, cache, os.path.join(folder, "cached.safetensors"))
                ratios.append(plain["seconds"]["denoising"] / cached["seconds"]["denoising"])
            report = cached["step_cache"]
            share = report["skipped"] / (report["skipped"] + report["computed"])
            far = [distance(actual[name], expected[name]) for name in ("latents_out", "image")]
            print(
                f"| `{cache}` | {100 * share:.0f} % | {statistics.median(ratios):.2f} ({min(ratios):.2f}–{max(ratios):.2f}) "
                f"| {far[0]:.1e} | {far[1]:.1e} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
