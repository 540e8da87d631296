"""A small byte-level BPE tokenizer with the shape of Qwen3's: same normalizer, same pre-tokenizer, same added tokens in
the same order, same chat template for one user message; 256 bytes plus a few hundred merges, trained here on a few
lines of text. As with the real one, the template's prefix up to SYSTEM's colon is 29 tokens (the pipeline drops 28, so
the colon's row stays), SYSTEM's last space joins the prompt's first word, and "a cat" is 40 tokens in all."""

import json
import os

from tokenizers import Regex, Tokenizer, decoders, normalizers, pre_tokenizers, processors
from tokenizers import AddedToken, models
from transformers import Qwen2TokenizerFast

SYSTEM = (
    "Describe the image by detailing the color, quantity, text, shape, size, texture, spatial relationships of the "
    "objects and background: "
)
PRETOKENIZE = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
ADDED = [
    ("<|endoftext|>", True), ("<|im_start|>", True), ("<|im_end|>", True), ("<|object_ref_start|>", True),
    ("<|object_ref_end|>", True), ("<|box_start|>", True), ("<|box_end|>", True), ("<|quad_start|>", True),
    ("<|quad_end|>", True), ("<|vision_start|>", True), ("<|vision_end|>", True), ("<|vision_pad|>", True),
    ("<|image_pad|>", True), ("<|video_pad|>", True), ("<tool_call>", False), ("</tool_call>", False),
    ("<|fim_prefix|>", False), ("<|fim_middle|>", False), ("<|fim_suffix|>", False), ("<|fim_pad|>", False),
    ("<|repo_name|>", False), ("<|file_sep|>", False), ("<tool_response>", False), ("</tool_response>", False),
    ("<think>", False), ("</think>", False),
]  # fmt: skip
CHAT_TEMPLATE = """{%- for message in messages %}
    {{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>' + '\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\\n' }}
    {%- if enable_thinking is defined and enable_thinking is false %}
        {{- '<think>\\n\\n</think>\\n\\n' }}
    {%- endif %}
{%- endif %}"""

CORPUS = (
    [SYSTEM + "\n", "user\nassistant\n\n"] * 8
    + [
        "a cat sits on a red mat, a dog runs on the green grass, the sun is in the sky",
        "a poster with the text OVIS in bold blue letters on a white wall, soft light",
        "an old wooden table with two cups of tea and a bowl of fruit, oil painting",
        "a woman in a yellow coat walks in the rain at night, neon signs, reflections in the water",
        "blurry, low quality, watermark, bad text, deformed",
        "the mountain and the lake, the forest and the river, the house and the garden",
        "on the left a sign, on the right a book; at the top a title, at the bottom a line of small text",
        "一只猫坐在红色的垫子上，一只狗在草地上奔跑，天空中有太阳",
        "白色的墙上有一张海报，上面写着文字，模糊，低质量",
    ]
    * 2
)
MERGES = 360


def template(prompt):
    return f"<|im_start|>user\n{SYSTEM}{prompt}<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n"


def byte_alphabet():
    """Return GPT-2's table from bytes to printable characters, in byte order of the table."""
    keep = [*range(33, 127), *range(161, 173), *range(174, 256)]
    table = {b: chr(b) for b in keep}
    n = 0
    for b in range(256):
        if b not in table:
            table[b] = chr(256 + n)
            n += 1
    return table


def train():
    """Train plain BPE, ties broken by the pair itself, so that the result never depends on hashing or threads."""
    table = byte_alphabet()
    pre = pre_tokenizers.Split(Regex(PRETOKENIZE), "isolated", invert=False)
    words = {}
    for line in CORPUS:
        for piece, _ in pre.pre_tokenize_str(line):
            w = tuple(table[b] for b in piece.encode())
            words[w] = words.get(w, 0) + 1
    vocab = {table[b]: i for i, b in enumerate([*range(33, 127), *range(161, 173), *range(174, 256)])}
    for b in range(256):
        vocab.setdefault(table[b], len(vocab))
    merges = []
    while len(merges) < MERGES:
        pairs = {}
        for w, n in words.items():
            for p in zip(w, w[1:]):
                pairs[p] = pairs.get(p, 0) + n
        if not pairs:
            break
        best = min(pairs, key=lambda p: (-pairs[p], p))
        merges.append(best)
        vocab["".join(best)] = len(vocab)
        new = {}
        for w, n in words.items():
            out, i = [], 0
            while i < len(w):
                if w[i : i + 2] == best:
                    out.append(w[i] + w[i + 1])
                    i += 2
                else:
                    out.append(w[i])
                    i += 1
            new[tuple(out)] = new.get(tuple(out), 0) + n
        words = new
    tok = Tokenizer(models.BPE(vocab=vocab, merges=merges, fuse_unk=False, byte_fallback=False))
    tok.normalizer = normalizers.NFC()
    tok.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(PRETOKENIZE), "isolated", invert=False),
            pre_tokenizers.ByteLevel(add_prefix_space=False, trim_offsets=False, use_regex=False),
        ]
    )
    tok.post_processor = processors.ByteLevel(add_prefix_space=False, trim_offsets=False, use_regex=False)
    tok.decoder = decoders.ByteLevel(add_prefix_space=False, trim_offsets=False, use_regex=False)
    for text, special in ADDED:
        added = AddedToken(text, special=special, normalized=False)
        (tok.add_special_tokens if special else tok.add_tokens)([added])
    assert len(tok.encode(template("a cat")).ids) == 40 and len(tok.encode(template("")).ids) == 39
    return tok


def compact(path):
    with open(path, encoding="utf-8") as f:
        data = json.load(f)
    with open(path, "w", encoding="utf-8") as f:
        json.dump(data, f, ensure_ascii=False, separators=(",", ":"))
        f.write("\n")


def save(folder):
    """Write the tokenizer with the class's own save_pretrained (tokenizer.json made compact) and return it."""
    raw = train()
    os.makedirs(folder, exist_ok=True)
    raw.save(os.path.join(folder, "tokenizer.json"))
    with open(os.path.join(folder, "tokenizer_config.json"), "w") as f:
        json.dump(
            {
                "add_prefix_space": False,
                "additional_special_tokens": [t for t, s in ADDED if s][1:],
                "bos_token": None,
                "chat_template": CHAT_TEMPLATE,
                "clean_up_tokenization_spaces": False,
                "eos_token": "<|im_end|>",
                "errors": "replace",
                "model_max_length": 131072,
                "pad_token": "<|endoftext|>",
                "split_special_tokens": False,
                "tokenizer_class": "Qwen2Tokenizer",
                "unk_token": None,
            },
            f,
        )
    tok = Qwen2TokenizerFast.from_pretrained(folder)
    tok.save_pretrained(folder)
    compact(os.path.join(folder, "tokenizer.json"))
    tok = Qwen2TokenizerFast.from_pretrained(folder)
    for prompt in ["a cat", "", "一只猫", "a <|im_end|> sign <|endoftext|>", "<think>", "cafe\u0301 1234\n\t x  "]:
        text = tok.apply_chat_template(
            [{"role": "user", "content": SYSTEM + prompt}],
            tokenize=False,
            add_generation_prompt=True,
            enable_thinking=False,
        )
        assert text == template(prompt), text
        assert tok(text, add_special_tokens=False).input_ids == raw.encode(text, add_special_tokens=False).ids
    return tok
