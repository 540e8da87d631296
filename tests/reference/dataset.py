#!/usr/bin/env python3
"""Record perceptual hashes of `imagehash` and buckets of kohya's scripts: tests/golden/dataset.json.

    python3 -m venv venv && venv/bin/pip install imagehash==4.3.2 pillow==13.0.0 opencv-python-headless
    git clone https://github.com/kohya-ss/sd-scripts
    venv/bin/python tests/reference/dataset.py sd-scripts

`--check` compares with the file instead. Last run: 2026-11-30, numpy 2.4.6, scipy 1.17.1, opencv
5.0.0.93, sd-scripts 48d368f. Pillow before 13 resized the rows of every image first, and gives some
tall images other hashes."""

import argparse
import ast
import json
import logging
import math
import pathlib
import random
import sys

import cv2
import imagehash
import numpy as np
from PIL import Image

FILE = pathlib.Path(__file__).resolve().parent.parent / "golden" / "dataset.json"

# Wide, tall, smaller than the 32x32 pixels of the hash, and about the shape of which Pillow resizes
# the columns first.
SIZES = [
    (64, 64), (32, 32), (200, 120), (33, 77), (640, 480), (1000, 31), (300, 300), (16, 16), (1024, 768),
    (511, 257), (48, 64), (48, 65), (50, 69), (32, 90), (90, 32), (31, 33), (120, 400), (257, 511), (20, 25), (9, 300),
]  # fmt: skip


def drawn(number):
    """Image that `drawn` of the Rust tests draws, too: integers only."""
    width, height = SIZES[number % len(SIZES)]
    k = number + 1
    y, x = np.mgrid[0:height, 0:width].astype(np.int64)
    color = [
        (x * x * k + y * 7 + x * y // (k + 3)) % 256,
        (((x - width // 2) ** 2 + (y - height // 3) ** 2 * k) // (17 * k)) % 256,
        (x * 255 // width + y * (3 + k)) % 256,
    ]
    if number >= len(SIZES):
        square = (x // (5 + number) + y // (9 + number)) % 2
        r, g, b = color
        color = [r // 4 + square * 150, g // 8 + 60, b // 16 + square * 40]
    return np.stack(color, -1).astype(np.uint8)


def hashes():
    for number in range(3 * len(SIZES)):
        pixels = drawn(number)
        image = Image.fromarray(pixels)
        gray = np.asarray(image.convert("L"))
        yield {
            "number": number,
            "size": list(image.size),
            "phash": str(imagehash.phash(image)),
            "sharpness": round(cv2.Laplacian(gray, cv2.CV_64F).var(), 3),
            "contrast": round(pixels.reshape(-1, 3).std(axis=0).max(), 3),
        }


def one_direction():
    """Images that change along x only, or along y only: most of their frequencies are rounding noise."""
    for width, height, step in [(100, 80, 2), (80, 100, 2), (64, 64, 3), (300, 200, 1)]:
        for along in "xy":
            y, x = np.mgrid[0:height, 0:width]
            gray = ((x if along == "x" else y) * step % 256).astype(np.uint8)
            phash = str(imagehash.phash(Image.fromarray(gray)))
            yield {"size": [width, height], "step": step, "along": along, "phash": phash}


def from_source(path, name, names):
    """Defines one function or class of a file, without what else the file imports."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    [found] = [node for node in tree.body if getattr(node, "name", None) == name]
    exec(compile(ast.Module([found], []), path.name, "exec"), names)
    return names[name]


def buckets(scripts):
    names = {"math": math, "np": np, "random": random, "logger": logging.getLogger(), "Tuple": tuple}
    make = from_source(scripts / "library" / "model_util.py", "make_bucket_resolutions", names)
    names["model_util"] = type("model_util", (), {"make_bucket_resolutions": staticmethod(make)})
    manager = from_source(scripts / "library" / "train_util.py", "BucketManager", names)
    numbers = random.Random(16)
    for side in (256, 512, 1024):
        for step in (16, 64):
            chooser = manager(False, (side, side), side // 2, side * 2, step)
            chooser.make_buckets()
            images = [(side, side), (1920, 1080), (1080, 1920), (1024, 1024), (256, 1024), (4096, 1024)]
            images += [tuple(numbers.choice(chooser.predefined_resos)) for _ in range(3)]
            images += [(numbers.randint(64, 4096), numbers.randint(64, 4096)) for _ in range(40)]
            choices = []
            for image in images:
                bucket, resize, _ = chooser.select_bucket(*image)
                choices.append([list(map(int, size)) for size in (image, bucket, resize)])
            yield {"side": side, "step": step, "sizes": chooser.predefined_resos, "choices": choices}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("scripts", type=pathlib.Path, help="clone of kohya-ss/sd-scripts")
    parser.add_argument("--check", action="store_true", help="compare with the file and write nothing")
    arguments = parser.parse_args()
    cases = {"hashes": hashes(), "one_direction": one_direction(), "buckets": buckets(arguments.scripts)}
    parts = []
    for name, rows in cases.items():
        lines = ",\n".join(json.dumps(row) for row in rows)
        parts.append(f"{json.dumps(name)}: [\n{lines}\n]")
    text = "{\n" + ",\n".join(parts) + "\n}\n"
    if not arguments.check:
        FILE.write_text(text, encoding="utf-8")
    elif FILE.read_text(encoding="utf-8") != text:
        sys.exit(f"{FILE} differs")


if __name__ == "__main__":
    main()
