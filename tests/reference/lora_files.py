"""Write LoRAs for the transformer of `base`, and the results of diffusers with PEFT on them.

`all/`: rank 4 on every linear layer, as `save_lora_adapter` writes it. `attention/`: another on the attention layers with
two ranks and two alphas and rank-stabilized scaling, as PEFT's own `save_pretrained` lays it out. `modulation/`: a third on the
adaLN layers alone, as `save_lora_adapter` writes it. `kohya.safetensors`: the first
under kohya's names. `fused.safetensors`: one on the authors' fused modules under ComfyUI's names; PEFT has no such modules, so its
reference is the weights plus the products, in torch. `merged/` is the transformer after PEFT merged half of `all`.
"""

import json
import os
import shutil

import torch
from diffusers.utils import set_weights_and_activate_adapters
from peft import LoraConfig, get_peft_model_state_dict, inject_adapter_in_model
from safetensors.torch import load_file, save_file

import layouts
import pipeline
import small_models
import weights
from cases import CASES

ATTENTION = ["to_q", "to_k", "to_v", "to_out.0", "add_q_proj", "add_k_proj", "add_v_proj", "to_add_out"]

# Every adaLN layer by the end of its name; PEFT takes an end from a dot on, so `norm.linear` is not `norm1.linear`.
MODULATION = ["norm1.linear", "norm1_context.linear", "norm.linear", "norm_out.linear"]


def matrix(key, shape, std):
    n = shape[0] * shape[1]
    return torch.from_numpy(weights.levels(weights.fnv1a64(key), n) * weights.quantized_step(std)).float().reshape(shape)


def fill(model, adapter):
    with torch.no_grad():
        for name, p in model.named_parameters():
            if "lora_" in name and f".{adapter}." in name:
                p.copy_(matrix(f"{adapter}/{name}", p.shape, 0.2))


def add(model, adapter, config):
    inject_adapter_in_model(config, model, adapter_name=adapter)
    model._hf_peft_config_loaded = True
    fill(model, adapter)


def linears(model):
    return [n for n, m in model.named_modules() if isinstance(m, torch.nn.Linear)]


def generate(pipe):
    tensors = pipeline.run(pipe, CASES["base"], "f32")
    return {k: tensors[k].contiguous() for k in ("latents_out", "image")}


def kohya(all_lora):
    out = {}
    for key, value in all_lora.items():
        module, part = key.rsplit(".lora_", 1)
        flat = "lora_transformer_" + module.replace(".", "_")
        out[f"{flat}.lora_{'down' if part.startswith('A') else 'up'}.weight"] = value.clone()
        out[f"{flat}.alpha"] = torch.tensor(6.0)
    return out


def fused(root, folder):
    """Make LoRAs on every fused module of the authors, with alphas, and the resulting weights."""
    m, model = small_models.MODELS["base"], f"{root}/base/model"
    dense = load_file(f"{model}/transformer/diffusion_pytorch_model.safetensors")
    rules = {f"transformer/{k}": v for k, v in dense.items()}
    made = {k: v.float().clone() for k, v in dense.items()}
    lora = {}
    for key, (shape, parts) in layouts.transformer(rules, m, comfy=True).items():
        if len(shape) != 2 or not key.endswith(".weight"):
            continue
        module = key.removesuffix(".weight")
        down = matrix(f"fused/{module}/down", (3, shape[1]), 0.2)
        up = matrix(f"fused/{module}/up", (shape[0], 3), 0.2)
        lora[f"diffusion_model.{module}.lora_A.weight"] = down
        lora[f"diffusion_model.{module}.lora_B.weight"] = up
        lora[f"diffusion_model.{module}.alpha"] = torch.tensor(1.5)
        update = 0.5 * (up @ down)
        row = 0
        for k, a, b in parts:
            made[k.removeprefix("transformer/")][a:b] += update[row : row + b - a]
            row += b - a
    save_file(lora, f"{folder}/fused.safetensors")
    pipe = pipeline.load(model, "f32")
    pipe.transformer.load_state_dict(made)
    return generate(pipe)


def make(root):
    folder = f"{root}/lora"
    shutil.rmtree(folder, ignore_errors=True)
    os.makedirs(folder)
    model = f"{root}/base/model"
    pipe = pipeline.load(model, "f32")
    transformer = pipe.transformer
    names = linears(transformer)
    golden = {}

    add(transformer, "all", LoraConfig(r=4, lora_alpha=6, target_modules=names, init_lora_weights=False))
    transformer.save_lora_adapter(f"{folder}/all", adapter_name="all")
    golden |= {f"all.{k}": v for k, v in generate(pipe).items()}
    set_weights_and_activate_adapters(transformer, ["all"], [0.5])
    golden |= {f"all_half.{k}": v for k, v in generate(pipe).items()}

    config = LoraConfig(
        r=2, lora_alpha=3, target_modules=ATTENTION, init_lora_weights=False, use_rslora=True,
        rank_pattern={"to_k": 3}, alpha_pattern={"attn.to_v": 5, "add_q_proj": 1},
    )
    add(transformer, "attention", config)
    os.makedirs(f"{folder}/attention")
    state = get_peft_model_state_dict(transformer, adapter_name="attention")
    save_file({f"base_model.model.{k}": v.contiguous() for k, v in state.items()}, f"{folder}/attention/adapter_model.safetensors")
    saved = {k: sorted(v) if isinstance(v, set) else v for k, v in config.to_dict().items()}
    with open(f"{folder}/attention/adapter_config.json", "w") as f:
        json.dump(saved, f, indent=2, sort_keys=True, default=str)
        f.write("\n")
    set_weights_and_activate_adapters(transformer, ["all", "attention"], [0.5, -0.75])
    golden |= {f"both.{k}": v for k, v in generate(pipe).items()}

    config = LoraConfig(r=3, lora_alpha=3, target_modules=MODULATION, init_lora_weights=False)
    add(transformer, "modulation", config)
    transformer.save_lora_adapter(f"{folder}/modulation", adapter_name="modulation")
    set_weights_and_activate_adapters(transformer, ["modulation"], [1.0])
    golden |= {f"modulation.{k}": v for k, v in generate(pipe).items()}

    # The merged weights of all modules, as PEFT merges them.
    set_weights_and_activate_adapters(transformer, ["all"], [0.5])
    for module in transformer.modules():
        if hasattr(module, "merge") and hasattr(module, "base_layer"):
            module.merge(adapter_names=["all"])
    merged = {
        k.replace(".base_layer.", "."): v.detach().clone()
        for k, v in transformer.state_dict().items()
        if "lora_" not in k
    }
    os.makedirs(f"{folder}/merged")
    shutil.copyfile(f"{model}/transformer/config.json", f"{folder}/merged/config.json")
    save_file(merged, f"{folder}/merged/diffusion_pytorch_model.safetensors")

    all_lora = load_file(f"{folder}/all/pytorch_lora_weights.safetensors")
    assert len(all_lora) == 2 * len(names)
    modulated = {k.rsplit(".lora_", 1)[0] for k in load_file(f"{folder}/modulation/pytorch_lora_weights.safetensors")}
    config = transformer.config
    assert len(modulated) == 2 * config.num_layers + config.num_single_layers + 1
    assert modulated < set(names)
    save_file(kohya(all_lora), f"{folder}/kohya.safetensors")
    golden |= {f"fused.{k}": v for k, v in fused(root, folder).items()}
    save_file(golden, f"{folder}/golden.safetensors")
    for k, v in golden.items():
        assert v.isfinite().all(), k
    print("lora", len(names), "modules;", {k: round(v.std().item(), 3) for k, v in golden.items()})
