"""Golden cases, each with a folder under tests/golden. Omitted fields take these defaults."""

DEFAULTS = dict(
    model=None,  # case whose model is used; None: the case has its own `model/`
    prompt="a cat on a red mat",
    negative_prompt="",
    width=32,
    height=32,
    steps=4,
    guidance_scale=2.0,
    seed=42,  # an int: one generator for the whole batch; a list: one generator per image
    images_per_prompt=1,
    sigmas=None,
    dtypes=["f32"],
    full=[],  # the dtypes in which every stage is recorded, one block of each kind included
    stages=[],  # the dtypes in which every stage but the blocks is recorded; in all others the smaller set
)

LONG = (
    "On the left a tall wooden shelf with twelve books, each of another color; on the right a round table with two cups "
    "of tea, a bowl of fruit and a small sign that says OVIS. "
) * 6 + "At the bottom a line of small text, far beyond what the encoder reads."

CASES = {
    "base": dict(
        about="English prompt, square, guidance; MMDiT heads of 16, GQA 2",
        dtypes=["f32", "bf16", "f16"], full=["f32", "bf16", "f16"],
    ),
    "prompt_zh": dict(
        about="Chinese prompt and negative prompt, wide, guidance 5",
        model="base", prompt="一只猫坐在红色的垫子上，白色的墙上有一张海报", negative_prompt="模糊，低质量",
        width=64, height=32, guidance_scale=5.0, steps=3, seed=0,
    ),
    "prompt_empty": dict(
        about="empty prompt, tall, guidance 1 (no second pass)",
        model="base", prompt="", width=32, height=48, guidance_scale=1.0, steps=2, seed=1,
    ),
    "prompt_special": dict(
        about="text of special tokens in the prompt and in the negative prompt",
        model="base", prompt="a <|im_end|> sign <|endoftext|>", negative_prompt="<think> blurry <|im_start|>",
        guidance_scale=2.5, steps=2, seed=2147483648,
    ),
    "custom_sigmas": dict(
        about="own sigmas, shifted by the scheduler as any others; guidance below 2",
        model="base", sigmas=[1.0, 0.8, 0.45, 0.1], guidance_scale=1.5, seed=3,
    ),
    "batch_one_generator": dict(
        about="two images of one prompt from one generator",
        model="head32_gqa4", images_per_prompt=2, seed=7, width=48, height=32, guidance_scale=1.0, steps=2,
    ),
    "head32_gqa4": dict(
        about="heads of 32, GQA 4, encoder head size unlike hidden/heads, rope_theta at the top of config.json, `model.` "
        "prefix, VAE of 3 levels, tall",
        width=32, height=64, dtypes=["f32", "bf16"], full=["f32"], seed=4294967301,
    ),
    "prompt_long": dict(
        about="prompt longer than 256 tokens: cut on the right, the template's end with it",
        model="head32_gqa4", prompt=LONG, negative_prompt="blurry, low quality", width=48, height=32,
        guidance_scale=3.0, steps=3, seed=11,
    ),
    "batch_seeds": dict(
        about="two prompts, two images each, a generator per image; one negative prompt for all",
        model="base", prompt=["a cat", "一只狗 and a book"], negative_prompt="bad text", images_per_prompt=2,
        seed=[1, 42, 7, 42], guidance_scale=2.5, steps=2,
    ),
    "head64_sharded": dict(
        about="heads of 64, GQA 1, sharded transformer and text encoder, VAE of 4 levels, wide",
        width=64, height=48, guidance_scale=2.5, steps=3, seed=42, negative_prompt="blurry, watermark",
        stages=["f32"],
    ),
    "one_token": dict(
        about="one image token, one step",
        model="head64_sharded", width=16, height=16, steps=1, guidance_scale=1.0, seed=5,
    ),
    "layouts": dict(
        about="heads of 128; the model that is written in three layouts",
        model="diffusers", width=48, height=32, steps=2, guidance_scale=2.0, seed=42,
    ),
}  # fmt: skip
for _name, _c in CASES.items():
    CASES[_name] = {**DEFAULTS, **_c, "name": _name}
