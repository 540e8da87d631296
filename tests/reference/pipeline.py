"""Run diffusers' own OvisImagePipeline on a model folder and record its intermediate tensors."""

import numpy as np
import torch
from diffusers import OvisImagePipeline
from diffusers.utils import logging as diffusers_logging
from torch.nn.attention import SDPBackend, sdpa_kernel
from transformers.utils import logging as transformers_logging

import weights

transformers_logging.disable_progress_bar()
diffusers_logging.disable_progress_bar()
diffusers_logging.set_verbosity_error()
DTYPES = {"f32": torch.float32, "bf16": torch.bfloat16, "f16": torch.float16}


def load(folder, dtype):
    pipe = OvisImagePipeline.from_pretrained(folder, dtype=DTYPES[dtype])
    pipe.set_progress_bar_config(disable=True)
    for part in (pipe.transformer, pipe.vae, pipe.text_encoder):
        assert part.dtype == DTYPES[dtype]
        part.eval()
    return pipe


def encode_input(height, width):
    return torch.from_numpy(weights.levels(weights.fnv1a64("vae.encode_in"), 3 * height * width) / 32.0).reshape(
        1, 3, height, width
    )


@torch.no_grad()
def run(pipe, case, dtype):
    """Return every golden tensor of the case in this dtype (see `full` and `stages` in cases.py)."""
    blocks = dtype in case["full"]
    full = blocks or dtype in case["stages"]
    out = {}
    handles = []

    def put(name, value, once=True):
        if not (once and name in out):
            out[name] = value.detach().clone()

    prefixes = ["", "negative_"]

    def text_hook(module, args, kwargs, result):
        prefix = prefixes.pop(0)
        put(f"{prefix}input_ids", kwargs["input_ids"])
        put(f"{prefix}attention_mask", kwargs["attention_mask"])
        if full and not prefix:
            put("text_encoder.last_hidden_state", result.last_hidden_state)

    def transformer_hook(module, args, kwargs, result):
        if "forward.sample" in out:
            put("forward_uncond.sample", result[0])
            return
        assert torch.equal(kwargs["hidden_states"], out["packed_latents_in"])
        assert torch.equal(kwargs["encoder_hidden_states"], out["prompt_embeds"])
        if case["name"] == "base" and dtype == "f32":  # the same as those two, under the names of the forward
            put("forward.hidden_states", kwargs["hidden_states"])
            put("forward.encoder_hidden_states", kwargs["encoder_hidden_states"])
        put("forward.timestep", kwargs["timestep"])
        put("forward.sample", result[0])

    def block_hook(name):
        def hook(module, args, kwargs, result):
            put(f"{name}.in_hidden", kwargs.get("hidden_states", args[0] if args else None))
            put(f"{name}.in_encoder", kwargs.get("encoder_hidden_states", args[1] if len(args) > 1 else None))
            if name == "double_block.0":
                put(f"{name}.temb", kwargs.get("temb", args[2] if len(args) > 2 else None))
            put(f"{name}.out_encoder", result[0])
            put(f"{name}.out_hidden", result[1])

        return hook

    def hook(module, f):
        handles.append(module.register_forward_hook(f, with_kwargs=True))

    hook(pipe.text_encoder, text_hook)
    hook(pipe.transformer, transformer_hook)
    hook(pipe.transformer.timestep_embedder, lambda m, a, k, r: put("time.conditioning", r))
    if blocks:
        hook(pipe.transformer.transformer_blocks[0], block_hook("double_block.0"))
        hook(pipe.transformer.single_transformer_blocks[0], block_hook("single_block.0"))
    if full and dtype == "f32":  # the same f32 values in bf16 and f16

        def rope_hook(m, a, k, r):
            put("rope.cos", r[0])
            put("rope.sin", r[1])

        hook(pipe.transformer.pos_embed, rope_hook)

    size = (case["height"], case["width"], pipe.vae_scale_factor)
    kept = {}

    def keep(owner, name, wrapper):
        kept[(owner, name)] = original = getattr(owner, name)
        setattr(owner, name, wrapper(original))

    def prepare_latents(original):
        def f(*args, **kwargs):
            latents, ids = original(*args, **kwargs)
            put("packed_latents_in", latents)
            put("latents_in", pipe._unpack_latents(latents, *size))
            return latents, ids

        return f

    def encode_prompt(original):
        def f(*args, **kwargs):
            result = original(*args, **kwargs)
            put("prompt_embeds", result[0])
            if result[1] is not None and result[1].shape[0] <= 2:  # not for the large batch: its rows are all the same
                put("negative_prompt_embeds", result[1])
            return result

        return f

    def step(original):
        def f(noise_pred, t, latents, **kwargs):
            put("noise_pred.0", noise_pred)
            result = original(noise_pred, t, latents, **kwargs)
            put("latents_step1", pipe._unpack_latents(result[0], *size))
            put("latents_out", pipe._unpack_latents(result[0], *size), once=False)
            return result

        return f

    def decode(original):
        def f(latents, **kwargs):
            result = original(latents, **kwargs)
            put("vae.decode_in", latents)
            put("vae.decode_out", result[0])
            return result

        return f

    keep(pipe, "prepare_latents", prepare_latents)
    keep(pipe, "encode_prompt", encode_prompt)
    keep(pipe.scheduler, "step", step)
    keep(pipe.vae, "decode", decode)
    seeds = case["seed"]
    generator = (
        [torch.Generator("cpu").manual_seed(s) for s in seeds]
        if isinstance(seeds, list)
        else torch.Generator("cpu").manual_seed(seeds)
    )
    with sdpa_kernel(SDPBackend.MATH):
        image = pipe(
            prompt=case["prompt"],
            negative_prompt=case["negative_prompt"],
            guidance_scale=case["guidance_scale"],
            height=case["height"],
            width=case["width"],
            num_inference_steps=case["steps"],
            sigmas=case["sigmas"],
            num_images_per_prompt=case["images_per_prompt"],
            generator=generator,
            output_type="pt",
        ).images
        if full:
            x = encode_input(case["height"], case["width"]).to(pipe.vae.dtype)
            put("vae.encode_in", x)
            dist = pipe.vae.encode(x).latent_dist
            put("vae.encode_mean", dist.mean)
            put("vae.encode_logvar", dist.logvar)
    for h in handles:
        h.remove()
    for (owner, name), original in kept.items():
        setattr(owner, name, original)
    put("sigmas", pipe.scheduler.sigmas)
    put("timesteps", pipe.scheduler.timesteps)
    put("image", image.float())
    u8 = pipe.image_processor.numpy_to_pil(pipe.image_processor.pt_to_numpy(image))
    put("image_u8", torch.from_numpy(np.stack([np.asarray(p) for p in u8])))  # [B,H,W,3]
    assert out["image"].shape[-2:] == (case["height"], case["width"])
    assert ("negative_input_ids" in out) == (case["guidance_scale"] > 1)
    return {k: v.contiguous() for k, v in sorted(out.items())}
