"""Run diffusers' pipeline on the model of `base` with skipped blocks, with step caches, and from an image."""

import numpy as np
import torch
from diffusers import FluxImg2ImgPipeline
from diffusers.hooks import (
    FirstBlockCacheConfig,
    TaylorSeerCacheConfig,
    apply_first_block_cache,
    apply_taylorseer_cache,
)
from diffusers.hooks._helpers import TransformerBlockMetadata, TransformerBlockRegistry
from diffusers.hooks.first_block_cache import FBCHeadBlockHook
from diffusers.hooks.taylorseer_cache import TaylorSeerCacheHook
from diffusers.models.transformers.transformer_ovis_image import (
    OvisImageSingleTransformerBlock,
    OvisImageTransformerBlock,
)
from diffusers.pipelines.ovis_image.pipeline_ovis_image import calculate_shift
from safetensors.torch import save_file

import pipeline
from samplers import write_json

# diffusers knows FLUX's blocks; Ovis-Image's return the same.
for block in (OvisImageTransformerBlock, OvisImageSingleTransformerBlock):
    TransformerBlockRegistry.register(
        model_class=block, metadata=TransformerBlockMetadata(return_hidden_states_index=1, return_encoder_hidden_states_index=0)
    )
PROMPT, SIZE, SEED = "a cat on a red mat", 32, 42
TIMESTEP = 0.6  # of the forwards with blocks left out


def load(root):
    return pipeline.load(f"{root}/base/model", "f32")


def unpacked(pipe, latents):
    return pipe._unpack_latents(latents, SIZE, SIZE, pipe.vae_scale_factor)


def run(pipe, steps, guidance, latents=None, sigmas=None):
    """Return the latents after each step, `[steps, channels, height, width]`."""
    after = []

    def on_step(pipe, index, timestep, kwargs):
        after.append(unpacked(pipe, kwargs["latents"])[0].clone())
        return {}

    pipe(
        prompt=PROMPT, negative_prompt="", height=SIZE, width=SIZE, num_inference_steps=steps, guidance_scale=guidance,
        generator=torch.Generator().manual_seed(SEED), output_type="latent", callback_on_step_end=on_step, latents=latents, sigmas=sigmas,
    )
    return torch.stack(after)


@torch.no_grad()
def skip_layers(root):
    tensors, cases = {}, []
    for name, double, single in [("none", [], []), ("double", [1], []), ("single", [], [0]), ("both", [0], [0, 1])]:
        pipe = load(root)
        model = pipe.transformer
        assert len(model.transformer_blocks) >= 2 and len(model.single_transformer_blocks) >= 2
        # diffusers' LayerSkipConfig gives a skipped block's outputs in the wrong order here (0.42.1), so it is left out by hand.
        for blocks, indices in ((model.transformer_blocks, double), (model.single_transformer_blocks, single)):
            for index in indices:
                blocks[index].forward = lambda hidden_states, encoder_hidden_states, **_: (encoder_hidden_states, hidden_states)
        cases.append({"name": name, "double": double, "single": single})
        tensors[name] = run(pipe, 1, 1.0)[0]
        # A forward at another timestep, on separate latents.
        embeds, _, text_ids, _ = pipe.encode_prompt(
            prompt=PROMPT, negative_prompt="", do_classifier_free_guidance=False, device="cpu", num_images_per_prompt=1
        )
        side = SIZE // pipe.vae_scale_factor // 2
        packed = torch.randn(1, side * side, model.config.in_channels, generator=torch.Generator().manual_seed(SEED))
        ids = pipe._prepare_latent_image_ids(1, side, side, "cpu", torch.float32)
        tensors |= {"latents": packed, "prompt_embeds": embeds}
        tensors[f"{name}.sample"] = model(
            hidden_states=packed, timestep=torch.tensor([TIMESTEP]), encoder_hidden_states=embeds, txt_ids=text_ids, img_ids=ids,
            return_dict=False,
        )[0]
    save_file(tensors, f"{root}/skip_layers.safetensors")
    write_json({"prompt": PROMPT, "size": SIZE, "seed": SEED, "timestep": TIMESTEP, "cases": cases}, f"{root}/skip_layers.json")


@torch.no_grad()
def caches(root):
    steps, guidance = 12, 5.0
    tensors, cases = {}, []
    plans = {f"first-block:{t}": FirstBlockCacheConfig(threshold=t) for t in (0.0, 1.05, 1.5, 10.0)} | {
        f"taylor:3:{order}:3": TaylorSeerCacheConfig(
            cache_interval=3, max_order=order, disable_cache_before_step=3, taylor_factors_dtype=torch.float32, use_lite_mode=True
        )
        for order in (1, 2)
    }
    for name, config in plans.items():
        pipe = load(root)
        decisions, changes = [], []
        if name.startswith("first"):
            decide = FBCHeadBlockHook._should_compute_remaining_blocks

            def recorded(self, residual):
                before = self.state_manager.get_state().head_block_residual
                changes.append(None if before is None else ((residual - before).abs().mean() / before.abs().mean()).item())
                decisions.append(decide(self, residual))
                return decisions[-1]

            FBCHeadBlockHook._should_compute_remaining_blocks = recorded
            apply_first_block_cache(pipe.transformer, config)
        else:
            measure = TaylorSeerCacheHook._measure_should_compute

            def measured(self):
                result = measure(self)
                if not result[1].is_inactive:
                    decisions.append(result[0])
                return result

            TaylorSeerCacheHook._measure_should_compute = measured
            apply_taylorseer_cache(pipe.transformer, config)
        tensors[name] = run(pipe, steps, guidance)
        if name.startswith("first"):
            FBCHeadBlockHook._should_compute_remaining_blocks = decide
            threshold = config.threshold
            assert all(abs(c - threshold) > 0.02 * threshold for c in changes if c is not None), (name, changes)
        else:
            TaylorSeerCacheHook._measure_should_compute = measure
        assert len(decisions) == 2 * steps, (name, len(decisions))
        branches = {"conditional": slice(0, None, 2), "unconditional": slice(1, None, 2)}
        case = {"cache": name, "computed": sum(decisions), "skipped": len(decisions) - sum(decisions)}
        case["in_full"] = {b: decisions[s] for b, s in branches.items()}
        if changes:  # of the first block's residual, relative
            case["changes"] = {b: changes[s] for b, s in branches.items()}
        cases.append(case)
    tensors["sigmas"] = pipe.scheduler.sigmas.clone()
    tensors["latents_in"] = torch.randn(tensors[name][:1].shape, generator=torch.Generator().manual_seed(SEED))
    save_file(tensors, f"{root}/caches.safetensors")
    write_json({"prompt": PROMPT, "size": SIZE, "seed": SEED, "steps": steps, "guidance_scale": guidance, "cases": cases}, f"{root}/caches.json")


def picture():
    y, x = torch.meshgrid(torch.arange(SIZE), torch.arange(SIZE), indexing="ij")
    return torch.stack([(7 * x) % 256, (5 * y) % 256, (3 * x + 4 * y) % 256], dim=2).to(torch.uint8)


@torch.no_grad()
def image_to_image(root):
    steps, guidance = 10, 5.0
    pipe = load(root)
    source = picture()
    pixels = (source.permute(2, 0, 1)[None].float() / 127.5) - 1.0
    vae = pipe.vae
    clean = (vae.encode(pixels).latent_dist.mode() - vae.config.shift_factor) * vae.config.scaling_factor
    noise = torch.randn(clean.shape, generator=torch.Generator().manual_seed(SEED))
    pack = lambda t: pipe._pack_latents(t, *t.shape)  # noqa: E731
    tensors, cases = {"picture": source, "latents": clean, "noise": noise}, []
    # A square of cells to repaint.
    mask = torch.zeros_like(clean[:, :1])
    mask[:, :, 4:12, 4:] = 1.0
    tensors["mask"] = mask[0, 0].clone()
    for name, strength, masked in [("0.3", 0.3, False), ("0.6", 0.6, False), ("1.0", 1.0, False), ("masked_0.8", 0.8, True)]:
        c = pipe.scheduler.config
        tokens = (clean.shape[2] // 2) * (clean.shape[3] // 2)
        mu = calculate_shift(tokens, c.base_image_seq_len, c.max_image_seq_len, c.base_shift, c.max_shift)
        pipe.scheduler.set_timesteps(sigmas=np.linspace(1.0, 1 / steps, steps), mu=mu)
        timesteps, taken = FluxImg2ImgPipeline.get_timesteps(pipe, steps, strength, "cpu")
        latents = pipe.scheduler.scale_noise(clean, timesteps[:1], noise)
        tensors[f"{name}.latents_in"] = latents.clone()
        cond, uncond, cond_ids, uncond_ids = pipe.encode_prompt(
            prompt=PROMPT, negative_prompt="", do_classifier_free_guidance=True, device="cpu", num_images_per_prompt=1
        )
        embeds = {"cond": (cond, cond_ids), "uncond": (uncond, uncond_ids)}
        ids = pipe._prepare_latent_image_ids(1, clean.shape[2] // 2, clean.shape[3] // 2, "cpu", torch.float32)
        packed, after = pack(latents), []
        for i, t in enumerate(timesteps):
            out = {
                p: pipe.transformer(
                    hidden_states=packed, timestep=t.expand(1) / 1000, encoder_hidden_states=e, txt_ids=text_ids, img_ids=ids, return_dict=False
                )[0]
                for p, (e, text_ids) in embeds.items()
            }
            velocity = out["uncond"] + guidance * (out["cond"] - out["uncond"])
            packed = pipe.scheduler.step(velocity, t, packed, return_dict=False)[0]
            if masked:  # FluxInpaintPipeline's loop
                kept = clean
                if i < len(timesteps) - 1:
                    kept = pipe.scheduler.scale_noise(clean, torch.tensor([timesteps[i + 1]]), noise)
                m = pack(mask.expand_as(clean))
                packed = (1 - m) * pack(kept) + m * packed
            after.append(unpacked(pipe, packed)[0].clone())
        tensors[f"{name}.latents_out"] = torch.stack(after)
        cases.append(
            {
                "name": name,
                "strength": strength,
                "masked": masked,
                "steps_taken": int(taken),
                "timesteps": timesteps.tolist(),
                "sigmas": pipe.scheduler.sigmas[-1 - len(timesteps) :].tolist(),
            }
        )
    save_file({k: v.contiguous() for k, v in tensors.items()}, f"{root}/image_to_image.safetensors")
    info = {"prompt": PROMPT, "size": SIZE, "seed": SEED, "steps": steps, "guidance_scale": guidance, "cases": cases}
    write_json(info, f"{root}/image_to_image.json")


GOLDENS = {"skip_layers": skip_layers, "caches": caches, "image_to_image": image_to_image}
