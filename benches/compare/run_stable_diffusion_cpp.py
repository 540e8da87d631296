#!/usr/bin/env python3
"""Run stable-diffusion.cpp's command line on ComfyUI's split files, with the flags and JSON of src/bin/compare.rs.

The times are those that the program prints itself, for its only generation: it has none when warm."""

import argparse
import glob
import json
import os
import re
import resource
import subprocess
import sys
import tempfile

PRINTED = {
    "load": "loading tensors completed, taking",
    "encode": "get_learned_condition completed, taking",
    "denoise": "sampling completed, taking",
    "decode": "decode_first_stage completed, taking",
    "total": "generate_image completed in",
}


def printed_times(log):
    """Return the seconds of each phase; the program prints seconds, and milliseconds in older versions."""
    times = {}
    for name, words in PRINTED.items():
        found = re.findall(rf"{re.escape(words)} ([\d.]+) ?(ms|s)", log)
        if not found:
            sys.exit(f"stable-diffusion.cpp did not print `{words}`:\n{log[-2000:]}")
        times[name] = sum(float(value) / (1000 if unit == "ms" else 1) for value, unit in found)
    return times


def only(pattern):
    found = glob.glob(pattern)
    if len(found) != 1:
        sys.exit(f"{pattern} matches {len(found)} files; one is needed")
    return found[0]


def version(binary):
    """Return the first line of `--version`, if the binary knows that flag."""
    done = subprocess.run([binary, "--version"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    lines = done.stdout.splitlines() if done.returncode == 0 else []
    return lines[0].removeprefix("stable-diffusion.cpp version ") if lines else "of unknown version"


def main():
    args = argparse.ArgumentParser(description=__doc__)
    args.add_argument("--binary", required=True, help="its command line, sd-cli")
    args.add_argument("--model", required=True, help="folder of ComfyUI's split files")
    args.add_argument("--dtype", default="f32")
    args.add_argument("--prompt", required=True)
    args.add_argument("--negative-prompt", default="")
    args.add_argument("--size", type=int, default=256)
    args.add_argument("--steps", type=int, default=4)
    args.add_argument("--guidance-scale", type=float, default=5.0)
    args.add_argument("--seed", type=int, default=7)
    args.add_argument("--repeats", help="ignored: it generates once")
    args.add_argument("--image", help="ignored: its noise is not that of the other programs")
    args = args.parse_args()

    threads = len(os.sched_getaffinity(0))
    with tempfile.TemporaryDirectory() as folder:
        command = [
            args.binary, "--verbose",
            "--diffusion-model", only(f"{args.model}/diffusion_models/*.safetensors"),
            "--vae", only(f"{args.model}/vae/*.safetensors"),
            "--llm", only(f"{args.model}/text_encoders/*.safetensors"),
            "--prompt", args.prompt, "--negative-prompt", args.negative_prompt,
            "--width", str(args.size), "--height", str(args.size),
            "--steps", str(args.steps), "--cfg-scale", str(args.guidance_scale),
            "--sampling-method", "euler", "--seed", str(args.seed),
            "--threads", str(threads), "--output", f"{folder}/image.png",
        ]  # fmt: skip
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace")
    if done.returncode:
        sys.exit(f"{args.binary} failed: {done.returncode}\n{done.stdout[-2000:]}")
    times = printed_times(done.stdout)
    report = {
        "program": "stable-diffusion.cpp",
        "versions": {"stable-diffusion.cpp": version(args.binary)},
        "dtype": args.dtype,
        "size": args.size,
        "steps": args.steps,
        "batch": 1,
        "threads": threads,
        "load": times["load"],
        "timed": [{"encode": times["encode"], "step": times["denoise"] / args.steps, "decode": times["decode"], "total": times["total"]}],
        "peak_memory": resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024,
    }
    print(json.dumps(report))


if __name__ == "__main__":
    main()
