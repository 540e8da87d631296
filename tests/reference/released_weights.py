#!/usr/bin/env python3
"""Make reference tensors of a complete diffusers folder, such as the released weights, with diffusers.

`tests/tests/released_weights.rs` compares the library with them: every stage of one 512x512 image, from token ids to
pixels. Writes `OUT/case.json` and one safetensors file for each dtype. Needs memory for the whole pipeline: about 20 GB
in bf16, twice that in f32.
"""

import argparse
import json
import os
import sys

from safetensors.torch import save_file

sys.dont_write_bytecode = True
import pipeline  # noqa: E402
import small_tokenizer  # noqa: E402

GOLDEN_FILES = {"f32": "golden.safetensors", "bf16": "golden_bf16.safetensors"}
TEXT = "OVIS IMAGE"


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("model", help="diffusers folder")
    ap.add_argument("out", help="output folder of the reference")
    ap.add_argument("--dtypes", nargs="+", choices=GOLDEN_FILES, default=["bf16"])
    ap.add_argument("--side", type=int, default=512)
    ap.add_argument("--steps", type=int, default=20)
    args = ap.parse_args()
    case = dict(
        name="released weights",
        prompt=f'a white poster with the words "{TEXT}" in large red letters',
        negative_prompt="",
        width=args.side,
        height=args.side,
        steps=args.steps,
        guidance_scale=5.0,
        seed=42,
        images_per_prompt=1,
        sigmas=None,
        full=[],
        stages=args.dtypes,
    )
    os.makedirs(args.out, exist_ok=True)
    for dtype in args.dtypes:
        pipe = pipeline.load(args.model, dtype)
        tensors = pipeline.run(pipe, case, dtype)
        save_file(tensors, f"{args.out}/{GOLDEN_FILES[dtype]}")
        text = small_tokenizer.template(case["prompt"])
        case["prompt_tokens"] = [len(pipe.tokenizer(text, add_special_tokens=False).input_ids)]
        pipe = None
    case["model"] = os.path.abspath(args.model)
    case["text"] = TEXT
    with open(f"{args.out}/case.json", "w", encoding="utf-8") as f:
        json.dump(case, f, ensure_ascii=False, indent=1)
        f.write("\n")


if __name__ == "__main__":
    main()
