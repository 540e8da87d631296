#!/usr/bin/env python3
"""Measure how fast `dataset synthesize --preset plain` draws, beside Python's PIL.

    cargo build --release -p ovis-image-examples --bin dataset --features dataset
    pip install pillow
    drawing.py target/release/dataset

Both draw one word or number on a flat ground with the same fonts, write a PNG, and a line with two
captions and the boxes of the text and its characters. They run alternately, each on one thread. The
table has the median rates of --rounds rounds, by CPU time and by wall time. Only wall time changes if
other programs use the machine. PIL's interpreter and imports are not counted, our whole process is.
PIL writes its PNGs at `compress_level=1`, the fastest, and 6, its default.
"""

import argparse
import json
import os
import pathlib
import random
import statistics
import subprocess
import sys
import tempfile
import time

FONTS = pathlib.Path(__file__).resolve().parents[2] / "ovis-image-examples" / "fonts"
ALPHABET = "ACDEFGHJKLMNPQRTUVWXY34679"
COLORS = {"red": (200, 30, 40), "blue": (30, 60, 190), "green": (20, 130, 60), "black": (10, 10, 10)}
GROUNDS = {"white": (250, 250, 250), "yellow": (250, 220, 60), "pink": (250, 190, 210)}


def draw_with_pil(folder, count, side, level):
    """The peer: what a script with PIL does for the preset `plain`. Prints its seconds."""
    from PIL import Image, ImageDraw, ImageFont

    files = sorted(FONTS.glob("DejaVu*.ttf"))
    fonts, numbers = {}, random.Random(0)
    (folder / "images").mkdir(parents=True)
    started, started_cpu = time.monotonic(), time.process_time()
    with open(folder / "manifest.jsonl", "w", encoding="utf-8") as manifest:
        for index in range(count):
            text = "".join(numbers.choices(ALPHABET, k=numbers.randint(3, 8)))
            key = numbers.choice(files), int(numbers.uniform(0.12, 0.2) * side)
            if key not in fonts:
                fonts[key] = ImageFont.truetype(str(key[0]), key[1])
            font = fonts[key]
            while font.getlength(text) > 0.92 * side:
                text = text[:-1]
            ground, color = numbers.choice(list(GROUNDS)), numbers.choice(list(COLORS))
            left, top, right, bottom = font.getbbox(text)
            x, y = numbers.uniform(0, side - right), numbers.uniform(0, side - bottom)
            image = Image.new("RGB", (side, side), GROUNDS[ground])
            ImageDraw.Draw(image).text((x, y), text, fill=COLORS[color], font=font)
            characters, pen = [], x
            for character in text:
                box = font.getbbox(character)
                characters.append({"text": character, "box": [pen + box[0], y + box[1], pen + box[2], y + box[3]]})
                pen += font.getlength(character)
            name = f"images/{index:08}.png"
            image.save(folder / name, compress_level=level)
            row = {
                "image": name,
                "caption_en": f'a {ground} image with the text "{text}" in {color}',
                "caption_zh": f"{ground}背景上写着{color}的文字“{text}”",
                "texts": [{"text": text, "box": [x + left, y + top, x + right, y + bottom], "characters": characters}],
            }
            manifest.write(json.dumps(row, ensure_ascii=False) + "\n")
    print(time.monotonic() - started, time.process_time() - started_cpu)


def measure_pil(folder, count, side, level):
    command = [sys.executable, __file__, "--draw", str(folder), str(count), str(side), str(level)]
    return [float(part) for part in subprocess.run(command, check=True, capture_output=True).stdout.split()]


def measure_ours(program, folder, count, side):
    size = ["--width", str(side), "--height", str(side), "--threads", "1"]
    command = [program, "synthesize", "--preset", "plain", "--count", str(count), *size, "-o", str(folder)]
    started = time.monotonic()
    null = [(os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0), (os.POSIX_SPAWN_DUP2, 1, 2)]
    _, status, usage = os.wait4(os.posix_spawn(program, command, os.environ, file_actions=null), 0)
    if status != 0:
        sys.exit(f"failed: {' '.join(command)}")
    return time.monotonic() - started, usage.ru_utime + usage.ru_stime


def main():
    if sys.argv[1:2] == ["--draw"]:
        return draw_with_pil(pathlib.Path(sys.argv[2]), *map(int, sys.argv[3:]))
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("dataset", help="the program")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--counts", default="128:4000,1024:200", help="side and number of images, several")
    arguments = parser.parse_args()
    print("| images a second, one thread | PIL, level 6 | PIL, level 1 | here | ratio to level 1 (min–max) |")
    print("|---|---:|---:|---:|---:|")
    for side, count in (map(int, pair.split(":")) for pair in arguments.counts.split(",")):
        rounds = []
        for _ in range(arguments.rounds):
            with tempfile.TemporaryDirectory() as name:
                folder = pathlib.Path(name)
                slow, fast = (measure_pil(folder / f"pil{level}", count, side, level) for level in (6, 1))
                rounds.append((slow, fast, measure_ours(arguments.dataset, folder / "ours", count, side)))
        for which, kind in ((1, "CPU time"), (0, "wall time")):
            rates = [[count / times[which] for times in found] for found in rounds]
            ratios = [ours / fast for _, fast, ours in rates]
            slow, fast, ours = (statistics.median(column) for column in zip(*rates))
            ratio = f"{statistics.median(ratios):.1f} ({min(ratios):.1f}–{max(ratios):.1f})"
            print(f"| {side}x{side}, by {kind} | {slow:.0f} | {fast:.0f} | {ours:.0f} | {ratio} |", flush=True)


if __name__ == "__main__":
    main()
