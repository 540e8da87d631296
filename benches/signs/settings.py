"""Measures settings on the embedded model: what a reader reads of its signs, and their distance from
the images of the default settings.

    cargo build --release -p ovis-image-examples --features evaluate --bin evaluate
    python3 benches/signs/settings.py --models rapidocr_onnxruntime/models --limit 100

Needs Pillow and numpy. Prints a Markdown table. Images and readings stay in --output, so that an
interrupted run continues.
"""

import argparse
import json
import pathlib
import subprocess

import numpy
from PIL import Image

ROOT = pathlib.Path(__file__).resolve().parents[2]

# Each is compared with the first; flags replace those of the model's defaults.
SETTINGS = {
    "20 steps, guidance 3": [],
    "4 steps": ["--steps", "4"],
    "8 steps": ["--steps", "8"],
    "12 steps": ["--steps", "12"],
    "50 steps": ["--steps", "50"],
    "guidance 1": ["--guidance-scale", "1"],
    "guidance 1.5": ["--guidance-scale", "1.5"],
    "guidance 2": ["--guidance-scale", "2"],
    "guidance 5": ["--guidance-scale", "5"],
    "guidance 3 in the first half": ["--guidance-interval", "0..0.5"],
    "Heun, 10 steps": ["--sampler", "heun", "--steps", "10"],
    "DPM++ 2M, 8 steps": ["--sampler", "dpmpp-2m", "--steps", "8"],
    "UniPC, 8 steps": ["--sampler", "unipc", "--steps", "8"],
    "step cache tea:0.15": ["--step-cache", "tea:0.15"],
    "step cache first-block:0.1": ["--step-cache", "first-block:0.1"],
    "step cache taylor:2": ["--step-cache", "taylor:2"],
    "bf16": ["--dtype", "bf16"],
    "q8_0": ["--quantize", "q8_0"],
    "q4_0": ["--quantize", "q4_0"],
}


def call(program, *arguments):
    done = subprocess.run([program, *arguments], capture_output=True, text=True)
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(map(str, arguments))}: {done.stderr.strip()}")
    return done.stdout


def distance(folder, reference):
    """Mean absolute difference of pixels, from 0 to 255."""
    differences = []
    for path in sorted(folder.glob("*.png")):
        pixels = [numpy.asarray(Image.open(image), float) for image in (path, reference / path.name)]
        differences.append(numpy.abs(pixels[0] - pixels[1]).mean())
    return float(numpy.mean(differences))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--program", default=ROOT / "target/release/evaluate")
    parser.add_argument("--models", required=True, help="folder of the PP-OCR models")
    parser.add_argument("--prompts", default=ROOT / "tests/data/signs.jsonl")
    parser.add_argument("--limit", default="100")
    parser.add_argument("--output", default="signs-settings", type=pathlib.Path)
    parser.add_argument("--only", nargs="*", help="names of settings")
    arguments = parser.parse_args()

    arguments.output.mkdir(exist_ok=True)
    prompts = arguments.output / "prompts.jsonl"
    lines = pathlib.Path(arguments.prompts).read_text().splitlines()[: int(arguments.limit)]
    prompts.write_text("\n".join(lines) + "\n")
    print("| setting | exact | NED | distance | s an image |\n|---|---|---|---|---|")
    reference = None
    for name, flags in SETTINGS.items():
        if arguments.only and name not in arguments.only:
            continue
        folder = arguments.output / name.replace(" ", "-").replace(",", "")
        readings = folder.with_suffix(".jsonl")
        common = ["signs", "--prompts", prompts]
        dtype = [] if "--dtype" in flags else ["--dtype", "f32"]
        call(arguments.program, "run", *common, *dtype, *flags, "-o", folder)
        if not readings.exists():
            call(arguments.program, "read", folder, "--models", arguments.models, "-o", readings)
        scores = call(arguments.program, "score", *common, "--readings", readings, "--json")
        scores = json.loads(scores)
        times = [json.loads(line) for line in (folder / "run.jsonl").read_text().splitlines()]
        seconds = numpy.median([line["seconds_per_image"] for line in times])
        reference = reference or folder
        print(
            f"| {name} | {scores['exact']:.3f} | {scores['ned']:.3f} "
            f"| {distance(folder, reference):.1f} | {seconds:.2f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
