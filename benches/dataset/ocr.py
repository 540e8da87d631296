#!/usr/bin/env python3
"""Reads the images of a data set with PP-OCRv4 and compares with the texts of its manifest.

Needs `pip install rapidocr-onnxruntime==1.4.4`, which holds the models.

    dataset synthesize --preset plain --count 300 --seed 7 --output plain
    ocr.py plain --least 0.98

Letters and digits are compared, without case and in any order of fields. A missing image counts as
misread.
"""

import argparse
import collections
import json
import pathlib
import sys

from rapidocr_onnxruntime import RapidOCR


def letters(texts):
    """Letters and digits of each text in lower case, as a multiset of texts."""
    kept = ("".join(c for c in text.lower() if c.isalnum()) for text in texts)
    return collections.Counter(text for text in kept if text)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("folder", type=pathlib.Path, help="folder of a manifest.jsonl")
    parser.add_argument("--least", type=float, default=0.0, help="fail below this share")
    arguments = parser.parse_args()
    reader = RapidOCR()
    exact = total = 0
    with open(arguments.folder / "manifest.jsonl", encoding="utf-8") as manifest:
        for line in manifest:
            row = json.loads(line)
            total += 1
            path = arguments.folder / row["image"]
            found = (reader(str(path))[0] or []) if path.exists() else []
            expected, read = letters(t["text"] for t in row["texts"]), letters(box[1] for box in found)
            # A reader may divide a line at a space.
            joined = lambda texts: sorted("".join(sorted(texts.elements())))
            if expected == read or (len(row["texts"]) > 1 and joined(expected) == joined(read)):
                exact += 1
            else:
                print(f"{row['image']}: {dict(expected)} was read as {dict(read)}")
    share = exact / max(total, 1)
    print(f"{exact} of {total} read exactly: {share:.4f}")
    sys.exit(share < arguments.least or total == 0)


if __name__ == "__main__":
    main()
