#!/usr/bin/env python3
"""Time diffusers' OvisImagePipeline on a checkpoint, with the flags and JSON of src/bin/compare.rs."""

import argparse
import json
import os
import time

started = time.perf_counter()
import accelerate  # noqa: E402, F401  diffusers loads better with it, so it must be there
import diffusers  # noqa: E402
import numpy as np  # noqa: E402
import torch  # noqa: E402
import transformers  # noqa: E402
from diffusers import OvisImagePipeline  # noqa: E402
from diffusers.utils import logging as diffusers_logging  # noqa: E402
from transformers.utils import logging as transformers_logging  # noqa: E402

imports = time.perf_counter() - started
diffusers_logging.disable_progress_bar()
transformers_logging.disable_progress_bar()

DTYPES = {"f32": torch.float32, "bf16": torch.bfloat16}


class Clock:
    """Wrap a method and record when its last call began and ended."""

    def __init__(self, owner, name):
        self.call = getattr(owner, name)
        setattr(owner, name, self)

    def __call__(self, *args, **kwargs):
        self.began = time.perf_counter()
        result = self.call(*args, **kwargs)
        self.ended = time.perf_counter()
        return result


def peak_memory():
    with open("/proc/self/status") as f:
        return next(int(line.split()[1]) * 1024 for line in f if line.startswith("VmHWM"))


def main():
    args = argparse.ArgumentParser(description=__doc__)
    args.add_argument("--model", required=True)
    args.add_argument("--dtype", choices=DTYPES, default="f32")
    args.add_argument("--device", default="cpu", help="torch's name of the device")
    args.add_argument("--prompt", required=True)
    args.add_argument("--negative-prompt", default="")
    args.add_argument("--size", type=int, default=256)
    args.add_argument("--steps", type=int, default=4)
    args.add_argument("--guidance-scale", type=float, default=5.0)
    args.add_argument("--seed", type=int, default=7)
    args.add_argument("--batch", type=int, default=1, help="number of images of the prompt")
    args.add_argument("--repeats", type=int, default=1, help="number of timed generations")
    args.add_argument("--image", help="output file of the image: f32, channels x height x width")
    args = args.parse_args()
    torch.set_num_threads(len(os.sched_getaffinity(0)))

    start = time.perf_counter()
    pipe = OvisImagePipeline.from_pretrained(args.model, dtype=DTYPES[args.dtype]).to(args.device)
    load = time.perf_counter() - start
    pipe.set_progress_bar_config(disable=True)
    assert all(part.dtype == DTYPES[args.dtype] for part in (pipe.transformer, pipe.vae, pipe.text_encoder))
    encode, decode = Clock(pipe, "encode_prompt"), Clock(pipe.vae, "decode")

    def generate(output_type):
        start = time.perf_counter()
        images = pipe(
            prompt=args.prompt,
            negative_prompt=args.negative_prompt,
            height=args.size,
            width=args.size,
            num_inference_steps=args.steps,
            guidance_scale=args.guidance_scale,
            num_images_per_prompt=args.batch,
            generator=torch.Generator("cpu").manual_seed(args.seed),
            output_type=output_type,
        ).images
        end = time.perf_counter()
        return images, {
            "encode": encode.ended - start,
            "step": (decode.began - encode.ended) / args.steps,
            "decode": end - decode.began,  # with the conversion to 8 bits, as on the other side
            "total": end - start,
        }

    start = time.perf_counter()
    images, _ = generate("np")
    first = load + time.perf_counter() - start
    if args.image:
        np.ascontiguousarray(images[0].transpose(2, 0, 1), dtype="<f4").tofile(args.image)
    timed = [generate("pil")[1] for _ in range(args.repeats)]

    versions = {m.__name__: m.__version__ for m in (torch, diffusers, transformers)}
    print(
        json.dumps(
            {
                "program": "diffusers",
                "versions": versions,
                "dtype": args.dtype,
                "device": args.device,
                "size": args.size,
                "steps": args.steps,
                "batch": args.batch,
                "threads": torch.get_num_threads(),
                "imports": imports,
                "load": load,
                "first": first,
                "timed": timed,
                "peak_memory": peak_memory(),
            }
        )
    )


if __name__ == "__main__":
    main()
