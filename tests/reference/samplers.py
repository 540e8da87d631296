"""Run diffusers' schedulers, sigma spacings and guiders on recorded predictions."""

import json

import numpy as np
import torch
from diffusers import (
    DPMSolverMultistepScheduler,
    FlowMatchEulerDiscreteScheduler,
    FlowMatchHeunDiscreteScheduler,
    FlowMatchLCMScheduler,
    UniPCMultistepScheduler,
)
from diffusers.guiders import (
    AdaptiveProjectedGuidance,
    ClassifierFreeGuidance,
    ClassifierFreeZeroStarGuidance,
    SkipLayerGuidance,
)
from diffusers.pipelines.ovis_image.pipeline_ovis_image import calculate_shift
from safetensors.torch import save_file

SHAPE = (2, 6, 8)
SEED = 11
RELEASE = {
    "base_image_seq_len": 256,
    "base_shift": 0.5,
    "max_image_seq_len": 4096,
    "max_shift": 1.15,
    "num_train_timesteps": 1000,
    "shift": 3.0,
    "use_dynamic_shifting": True,
}
FLOW = {"prediction_type": "flow_prediction", "use_flow_sigmas": True, "solver_order": 2, "final_sigmas_type": "zero"}
SCHEDULERS = {
    "euler": lambda: FlowMatchEulerDiscreteScheduler(),
    "heun": lambda: FlowMatchHeunDiscreteScheduler(),
    "dpmpp-2m": lambda: DPMSolverMultistepScheduler(algorithm_type="dpmsolver++", solver_type="midpoint", **FLOW),
    "unipc": lambda: UniPCMultistepScheduler(solver_type="bh2", predict_x0=True, **FLOW),
    "lcm": lambda: FlowMatchLCMScheduler(),
    "euler_stochastic": lambda: FlowMatchEulerDiscreteScheduler(stochastic_sampling=True),
}
DRAWING = ("lcm", "euler_stochastic")


def write_json(value, path):
    with open(path, "w") as f:
        json.dump(value, f, indent=1)
        f.write("\n")


def release_mu(tokens):
    r = RELEASE
    return calculate_shift(tokens, r["base_image_seq_len"], r["max_image_seq_len"], r["base_shift"], r["max_shift"])


def release_sigmas(steps, tokens, **spacing):
    scheduler = FlowMatchEulerDiscreteScheduler(**RELEASE, **spacing)
    scheduler.set_timesteps(sigmas=np.linspace(1.0, 1 / steps, steps), mu=release_mu(tokens))
    return scheduler.sigmas.tolist()


def predictions(count, seed):
    """Make predictions like a model's: a part of them changes from step to step."""
    g = torch.Generator().manual_seed(seed)
    base = torch.randn(SHAPE, generator=g)
    return torch.stack([base + 0.3 * torch.randn(SHAPE, generator=g) for _ in range(count)])


def with_sigmas(scheduler, sigmas, heun):
    """Set a scheduler to the given sigmas, in the form of its `set_timesteps`."""
    steps = len(sigmas) - 1
    scheduler.set_timesteps(steps)
    s = torch.tensor(sigmas, dtype=torch.float32)
    if heun:
        s = torch.cat([s[:1], s[1:-1].repeat_interleave(2), s[-1:]])
    scheduler.sigmas = s
    scheduler.timesteps = s[:-1] * 1000
    scheduler.num_inference_steps = steps
    scheduler.set_begin_index(0)
    return scheduler


def samplers(root):
    sigma_lists = {
        "release8": release_sigmas(8, 1024),
        "release20": release_sigmas(20, 1024),
        "from_0.9": [0.9, 0.7, 0.45, 0.2, 0.05, 0.0],
        "two": [0.95, 0.4, 0.0],
        "one": [1.0, 0.0],
    }
    cases, stochastic, tensors = [], [], {}
    for sampler, make in SCHEDULERS.items():
        for name, sigmas in sigma_lists.items():
            key = f"{sampler}.{name}"
            scheduler = with_sigmas(make(), sigmas, sampler == "heun")
            outputs = predictions(len(scheduler.timesteps), SEED)
            latents = torch.randn(SHAPE, generator=torch.Generator().manual_seed(SEED + 1))
            generator = torch.Generator().manual_seed(SEED + 2)
            extra = {"generator": generator} if sampler in DRAWING else {}
            tensors[f"{key}.latents_in"] = latents.clone()
            after = []
            for t, output in zip(scheduler.timesteps, outputs):
                latents = scheduler.step(output, t, latents, return_dict=False, **extra)[0]
                if sampler != "heun" or scheduler.state_in_first_order:
                    after.append(latents.clone())
            if sampler == "heun":  # the last step is of first order and leaves the scheduler in the middle of one
                after = after[: len(sigmas) - 2] + [latents.clone()]
            assert latents.isfinite().all(), key  # log(0) of a sigma of 1 is infinite, but what comes of it is finite
            tensors[f"{key}.outputs"] = outputs
            tensors[f"{key}.latents_out"] = torch.stack(after)
            case = {
                "name": key, "sampler": sampler, "sigmas": sigmas, "evaluations": len(outputs), "finite": True, "noise_seed": SEED + 2
            }
            # This is the same step as FlowMatchLCMScheduler's, so it is not a separate sampler.
            (stochastic if sampler == "euler_stochastic" else cases).append(case)
            assert len(after) == len(sigmas) - 1
            if sampler in DRAWING:  # one draw for each step, the last included
                generator = torch.Generator().manual_seed(SEED + 2)
                tensors[f"{key}.noise"] = torch.stack([torch.randn(SHAPE, generator=generator) for _ in after])
    save_file(tensors, f"{root}/samplers.safetensors")
    write_json({"cases": cases, "stochastic": stochastic}, f"{root}/samplers.json")


def spacings(root):
    out = []
    for spacing in ("karras", "exponential", "beta"):
        for steps in (1, 2, 5, 20, 50):
            for tokens in (256, 1024, 4096):
                sigmas = release_sigmas(steps, tokens, **{f"use_{spacing}_sigmas": True})
                out.append(
                    {"spacing": spacing, "steps": steps, "image_tokens": tokens, "mu": release_mu(tokens), "sigmas": sigmas}
                )
    write_json({"spacings": out}, f"{root}/spacings.json")


def guiders(root):
    steps = 10
    cfg = lambda **k: (ClassifierFreeGuidance, "cfg", k)  # noqa: E731
    zero = lambda **k: (ClassifierFreeZeroStarGuidance, "zero-star", k)  # noqa: E731
    apg = lambda **k: (AdaptiveProjectedGuidance, "apg", k)  # noqa: E731
    slg = lambda **k: (SkipLayerGuidance, "skip-layers", {"skip_layer_guidance_layers": [0], **k})  # noqa: E731
    cases = {
        "cfg": cfg(guidance_scale=5.0),
        "interval": cfg(guidance_scale=5.0, start=0.2, stop=0.7),
        "zero_star": zero(guidance_scale=5.0, zero_init_steps=1),
        "zero_star_0": zero(guidance_scale=3.0, zero_init_steps=0),
        "apg": apg(guidance_scale=7.5, eta=0.0, adaptive_projected_guidance_momentum=-0.5, adaptive_projected_guidance_rescale=2.0),
        "apg_plain": apg(guidance_scale=7.5, eta=0.5, adaptive_projected_guidance_momentum=None, adaptive_projected_guidance_rescale=0.0),
        "apg_momentum": apg(guidance_scale=4.0, eta=1.0, adaptive_projected_guidance_momentum=0.75, adaptive_projected_guidance_rescale=15.0),
        "skip_layers": slg(guidance_scale=5.0, skip_layer_guidance_scale=2.8, skip_layer_guidance_start=0.01, skip_layer_guidance_stop=0.2),
        "skip_layers_long": slg(guidance_scale=5.0, skip_layer_guidance_scale=1.5, skip_layer_guidance_start=0.0, skip_layer_guidance_stop=0.8, start=0.3, stop=0.6),
    }
    tensors, out = {}, []
    for name, (kind, label, arguments) in cases.items():
        guider = kind(**arguments)
        made = {p: predictions(steps, SEED + 10 + i) for i, p in enumerate(("conditional", "unconditional", "skipped"))}
        guided, asked = [], []
        for step in range(steps):
            guider.set_state(step=step, num_inference_steps=steps, timestep=torch.tensor(0.0))
            batches = guider.prepare_inputs({"x": (torch.zeros(1), torch.zeros(1))})
            names = {"pred_cond": "conditional", "pred_uncond": "unconditional", "pred_cond_skip": "skipped"}
            wanted = [getattr(b, guider._identifier_key) for b in batches]
            asked.append([names[w] for w in wanted])
            guided.append(guider.forward(**{w: made[names[w]][step].clone() for w in wanted}).pred)
        tensors |= {f"{name}.{p}": v for p, v in made.items()}
        tensors[f"{name}.guided"] = torch.stack(guided)
        out.append({"name": name, "kind": label, "arguments": arguments, "steps": steps, "asked": asked})
    save_file(tensors, f"{root}/guiders.safetensors")
    write_json({"cases": out}, f"{root}/guiders.json")


GOLDENS = {"samplers": samplers, "spacings": spacings, "guiders": guiders}
