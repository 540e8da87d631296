#!/usr/bin/env python3
"""Write ovis-image-examples/configs/nano: the configurations of the small model that is trained on drawn signs, in a
diffusers folder without weights, with a tokenizer of its own.

The tokenizer is small_tokenizer's with another corpus: words of the captions of the preset `signs` are one token each,
and quoted text is one token a character, because no capitals stand together in the corpus. Last run: 2026-11-25."""

import json
import os
import re
import shutil
import sys

sys.dont_write_bytecode = True
import small_tokenizer  # noqa: E402

HERE = os.path.dirname(os.path.abspath(__file__))
EXAMPLES = os.path.join(os.path.dirname(os.path.dirname(HERE)), "ovis-image-examples")
TINY = os.path.join(EXAMPLES, "assets", "tiny")
NANO = os.path.join(EXAMPLES, "configs", "nano")

COLORS = "red white blue black yellow green purple orange pink brown gray navy cyan teal".split()
# The English captions of src/typography/presets/signs.toml, and words for captions to come.
CAPTIONS = [
    '{a ground} sign with the words "{text}" in {color}',
    '{a ground} sign that says "{text}" in {color} letters',
    'a sign reading "{text}", {color} on {ground}',
    '"{text}" in {color} on {a ground} sign',
    'the words "{text}" in {color} on {a ground} background',
    '{color} letters "{text}" on {a ground} board',
    '{a ground} board with "{text}" written in {color}',
    '{a ground} sign with {color} text: "{text}"',
    'a photo of {a ground} sign that reads "{text}" in {color}',
    'a {color} "{text}" on {ground}',
    'text "{text}", text color {color}, background color {ground}',
    '{ground} sign, {color} text, "{text}"',
    'a simple sign. The background is {ground}. The text is "{text}" and it is {color}.',
    'a flat {ground} image with "{text}" in the center in {color} capitals',
    'a cat, an image, at the top, bottom, left, right, middle, large small bold serif sans mono font, upper lower case',
    'line lines first second word digit number and below above',
]
ROWS = 64
LONGEST = ["ABCDEFG", "HIJKLMN"]


def fill(caption, color, ground, text):
    article = "an " if ground[0] in "aeiou" else "a "
    values = {"a ground": article + ground, "ground": ground, "color": color, "text": text}
    return re.sub(r"\{(.*?)\}", lambda found: values[found[1]], caption)


def corpus():
    lines = [small_tokenizer.SYSTEM + "\n", "user\nassistant\n\n"]
    for caption in CAPTIONS:
        for color in COLORS:
            lines.append(" " + fill(caption, color, color, "") + "\n")
    # As they are, the empty texts join both quotation marks.
    return [line.replace('""', '" "') for line in lines]


def write(name, value):
    path = os.path.join(NANO, name)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w") as f:
        json.dump(value, f, indent=2)
        f.write("\n")


def read(name):
    with open(os.path.join(TINY, name)) as f:
        return json.load(f)


def check(tokenizer):
    ids = lambda text: tokenizer(text, add_special_tokens=False).input_ids  # noqa: E731
    prefix = small_tokenizer.template("").split(": ")[0]
    assert len(ids(prefix)) == 28, len(ids(prefix))
    longest = 0
    for caption in CAPTIONS:
        for color in COLORS:
            text = " ".join(LONGEST)
            tokens = ids(small_tokenizer.template(fill(caption, color, color, text)))
            assert tokens[:28] == ids(prefix)
            longest = max(longest, len(tokens) - 28)
    assert longest <= ROWS, longest
    for text in ["OPEN TODAY", "ABCDEFG HIJKLMN", "OPQRSTU VWXYZ0", "123 456", "THE TTT", "A B"]:
        tokens = tokenizer.convert_ids_to_tokens(ids(f'a red sign with the words "{text}" in white'))
        assert [t for t in tokens if len(t) == 1 and t != "a" and t != '"'] == [
            c if c != " " else "\u0120" for c in text
        ], (text, tokens)
    for color in COLORS:
        assert len(ids(f" {color}")) == 1, color
    return longest


def main():
    shutil.rmtree(NANO, ignore_errors=True)
    small_tokenizer.CORPUS = corpus()
    small_tokenizer.MERGES = 10_000
    tokenizer = small_tokenizer.save(os.path.join(NANO, "tokenizer"))
    longest = check(tokenizer)
    pad = tokenizer.convert_tokens_to_ids("<|endoftext|>")
    size = (len(tokenizer) + 127) // 128 * 128
    print(f"{len(tokenizer)} tokens, {size} rows; the longest caption has {longest} after the prefix")
    text = read("text_encoder/config.json")
    text.update(
        head_dim=64, hidden_size=128, intermediate_size=384, num_attention_heads=2, num_key_value_heads=1,
        num_hidden_layers=3, layer_types=["full_attention"] * 3, max_window_layers=3, vocab_size=size,
        eos_token_id=pad, pad_token_id=pad, dtype="float32",
    )  # fmt: skip
    write("text_encoder/config.json", text)
    transformer = read("transformer/config.json")
    transformer.update(
        attention_head_dim=64, axes_dims_rope=[8, 28, 28], joint_attention_dim=128, num_attention_heads=2,
        num_layers=2, num_single_layers=4,
    )  # fmt: skip
    write("transformer/config.json", transformer)
    vae = read("vae/config.json")
    vae.update(block_out_channels=[16, 16, 32, 64], norm_num_groups=4, scaling_factor=1.0, shift_factor=0.0, sample_size=128)
    write("vae/config.json", vae)
    write("scheduler/scheduler_config.json", read("scheduler/scheduler_config.json"))
    write("model_index.json", read("model_index.json"))


if __name__ == "__main__":
    main()
