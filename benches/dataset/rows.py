#!/usr/bin/env python3
"""Measure the time and the peak memory of the steps of `dataset` on many small rows.

    cargo build --release -p ovis-image-examples --bin dataset --features dataset
    rows.py target/release/dataset --work /tmp/rows --limit 1GB

Draws signs (160x96 unless --size says otherwise), then runs each step on their manifest and prints
its row of a table. The second `ingest` must leave the same manifest. `buckets` and later steps see
rows without `texts`, so that `buckets` searches every image for what matters.
"""

import argparse
import hashlib
import json
import os
import pathlib
import sys
import time


def measured(command):
    """Runs a command. Returns its seconds, its CPU seconds and its largest resident set in MB."""
    started = time.monotonic()
    process = os.posix_spawn(
        command[0], command, os.environ, file_actions=[(os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0)]
    )
    _, status, usage = os.wait4(process, 0)
    if status != 0:
        sys.exit(f"failed: {' '.join(command)}")
    return time.monotonic() - started, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024 / 1e6


def hashed(path):
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def without_texts(source, target):
    """Copies a manifest without the field `texts`. Returns the number of rows."""
    with open(source, encoding="utf-8") as rows, open(target, "w", encoding="utf-8") as out:
        count = 0
        for line in rows:
            row = json.loads(line)
            row.pop("texts", None)
            # Relative to the folder of the manifest that is read.
            row["image"] = str((source.parent / row["image"]).resolve())
            out.write(json.dumps(row, ensure_ascii=False) + "\n")
            count += 1
    return count


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("dataset", help="the program")
    parser.add_argument("--work", type=pathlib.Path, required=True, help="folder for all files")
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--size", default="160x96", help="width and height of the images")
    parser.add_argument("--limit", help="fail if a step takes more memory, such as 1GB")
    arguments = parser.parse_args()
    limit = float(arguments.limit.removesuffix("GB")) * 1000 if arguments.limit else float("inf")
    program, work = arguments.dataset, arguments.work
    drawn, data, plain = work / "drawn", work / "data", work / "plain"
    width, height = arguments.size.split("x")
    fonts = ["--characters", "3-9", "--lines", "1-2"]
    size = ["--width", width, "--height", height]
    draw = ["synthesize", "--preset", "signs", "--count", str(arguments.rows), *size, *fonts, "-o", str(drawn)]
    ingest = ["ingest", str(drawn / "manifest.jsonl"), "--min-side", "64", "--max-repeats", "1000000"]
    ingest += ["--source", "synthetic", "-o", str(data)]

    print("| step | rows | seconds | CPU seconds | peak memory, MB |\n|---|---:|---:|---:|---:|")
    over = []

    def step(name, command, rows):
        seconds, cpu, peak = measured([program, *command])
        print(f"| {name} | {rows:,} | {seconds:.1f} | {cpu:.1f} | {peak:.0f} |", flush=True)
        if peak > limit:
            over.append(name)

    step("`synthesize`", draw, arguments.rows)
    step("`ingest`", ingest, arguments.rows)
    first = hashed(data / "manifest.jsonl")
    step("`ingest` again", ingest, arguments.rows)
    if hashed(data / "manifest.jsonl") != first:
        sys.exit("the second `ingest` changed the manifest")
    plain.mkdir(exist_ok=True)
    kept = without_texts(data / "manifest.jsonl", plain / "manifest.jsonl")
    step("`buckets`", ["buckets", str(plain), "--resolutions", "64", "--step", "64"], kept)
    step("`balance`", ["balance", str(plain)], kept)
    step("`inspect`", ["inspect", str(plain)], kept)
    if over:
        sys.exit(f"more than {arguments.limit}: {', '.join(over)}")


if __name__ == "__main__":
    main()
