#!/usr/bin/env python3
"""Compare `evaluate read` with RapidOCR on the same images: lines, word accuracy and time.

    python3 -m venv venv && venv/bin/pip install rapidocr-onnxruntime==1.4.4
    for preset in signs posters screens bilingual plain; do
        dataset synthesize --preset $preset --count 40 -o drawn/$preset
    done
    venv/bin/python benches/reader/compare.py drawn --models venv/lib/python3*/site-packages/rapidocr_onnxruntime/models

Both run on one thread each, in processes of their own. The time of an image is the CPU time of reading all images
without that of reading one, divided by their number. Words are those of the strings in manifest.jsonl, counted as
CVTG-2K counts them. More arguments of `evaluate read` may follow `--`."""

import argparse
import glob
import json
import os
import resource
import subprocess
import sys
import tempfile

ONE_THREAD = dict.fromkeys(("RTEN_NUM_THREADS", "RAYON_NUM_THREADS", "OMP_NUM_THREADS"), "1")


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("images", help="folder with folders of `dataset synthesize`")
    parser.add_argument("--models", required=True, help="folder of the PP-OCR models")
    parser.add_argument("--program", default="target/release/evaluate")
    own, more = sys.argv[1:], []
    if "--" in own:
        at = own.index("--")
        own, more = own[:at], own[at + 1 :]
    return parser.parse_args(own), more


def rapidocr(paths):
    import cv2
    from rapidocr_onnxruntime import RapidOCR

    cv2.setNumThreads(1)
    reader = RapidOCR(intra_op_num_threads=1, inter_op_num_threads=1)
    for path in paths:
        lines, _ = reader(cv2.imread(path))
        print(json.dumps({"image": path, "words": [line[1] for line in lines or []]}))


def run(command, paths):
    """Return the readings of some images by their paths, and the CPU seconds of the process."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    output = subprocess.run(command + paths, env=os.environ | ONE_THREAD, stdout=subprocess.PIPE, check=True).stdout
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    readings = map(json.loads, output.splitlines())
    seconds = after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime
    return {reading["image"]: reading["words"] for reading in readings}, seconds


def timed(command, paths):
    _, one = run(command, paths[:1])
    readings, all_ = run(command, paths)
    return readings, (all_ - one) / (len(paths) - 1)


def word_accuracy(readings, strings):
    correct = total = 0
    for path, texts in strings.items():
        read = " ".join(readings[path]).lower().split()
        words = " ".join(texts).lower().split()
        correct += sum(word in read for word in words)
        total += len(words)
    return correct / total


def main():
    if sys.argv[1:2] == ["--rapidocr"]:  # the process that `main` starts
        return rapidocr(sys.argv[2:])
    args, more = arguments()
    strings = {}
    for manifest in sorted(glob.glob(os.path.join(args.images, "*", "manifest.jsonl"))):
        for line in open(manifest, encoding="utf-8"):
            row = json.loads(line)
            path = os.path.normpath(os.path.join(os.path.dirname(manifest), row["image"]))
            strings[path] = [text["text"] if isinstance(text, dict) else text for text in row["texts"]]
    paths = sorted(strings)
    theirs, seconds = timed([sys.executable, os.path.abspath(__file__), "--rapidocr"], paths)
    ours, own_seconds = timed([args.program, "read", "--models", args.models, *more], paths)
    lines = sum(map(len, theirs.values()))
    equal = sum(a == b for path in paths for a, b in zip(theirs[path], ours[path]))
    print(f"{len(paths)} images, {lines} lines of RapidOCR, {sum(map(len, ours.values()))} here, {equal} equal")
    print(f"word accuracy: RapidOCR {word_accuracy(theirs, strings):.4f}, here {word_accuracy(ours, strings):.4f}")
    print(f"CPU ms per image: RapidOCR {1000 * seconds:.0f}, here {1000 * own_seconds:.0f}, ratio {own_seconds / seconds:.2f}")
    for path in paths:
        if theirs[path] != ours[path]:
            print(f"{path}: {theirs[path]} {ours[path]}")


if __name__ == "__main__":
    main()
