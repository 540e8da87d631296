#!/usr/bin/env python3
"""Record what the official scripts of CVTG-2K and LongText-Bench make of readings: tests/golden/evaluation.json.

The functions are called from the scripts' own files, which are not copied here:

    git clone https://github.com/zlab-princeton/i1
    python3 -m venv venv && venv/bin/pip install Levenshtein==0.27.5
    venv/bin/python tests/reference/official_scores.py i1/benchmark_eval

Only the functions are taken out of the files, so torch and the readers are not needed. Last run: 2026-11-25,
i1 at b58a62f."""

import ast
import json
import os
import random
import re
import sys
from collections import Counter

import difflib
import Levenshtein  # noqa: F401  (imported by the official function)

HERE = os.path.dirname(os.path.abspath(__file__))
OUTPUT = os.path.join(os.path.dirname(HERE), "golden", "evaluation.json")
CASES = 340

WORDS = """GRAND OPENING Sale 50% off! coffee & tea EXIT No. 7 don't DON'T it's Café Müller naïve ÇA open-late 24/7 Straße
www.example.com price: $9.99 ΣΊΣΥΦΟΣ İstanbul ﬁne 你好 世界 欢迎 光临 今日 特价 LONDON bridge Bridge BRIDGE a A the The""".split()


def functions(path, names, scope):
    """Evaluate the named functions and methods of a file in `scope`."""
    tree = ast.parse(open(path, encoding="utf-8").read())
    found = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef) and node.name in names]
    for node in found:
        node.returns = None
        for argument in node.args.args:
            argument.annotation = None
        exec(compile(ast.Module([node], []), path, "exec"), scope)
    assert len(found) == len(names), (path, names)
    return scope


class Reader:
    """Stands in for PaddleOCR: returns given lines."""

    def __init__(self, lines):
        self.lines = lines

    def ocr(self, _path, cls):
        assert cls
        return [[[None, (line, 1.0)] for line in self.lines] if self.lines else None]


def noisy(rng, text):
    kind = rng.randrange(8)
    if kind == 0 or not text:
        return text
    at = rng.randrange(len(text))
    if kind == 1:
        return text[:at] + text[at + 1 :]
    if kind == 2:
        return text[:at] + rng.choice("0O1Il.,'  ") + text[at:]
    if kind == 3:
        return text[:at] + rng.choice("XYZ") + text[at + 1 :]
    if kind == 4:
        return text.swapcase()
    if kind == 5:
        return text + " " + text
    if kind == 6:
        return text.replace(" ", rng.choice(["\t", "\u3000", "", "\u001c", "\u00a0"]))
    return "".join(rng.sample(text, len(text)))


def phrases(rng):
    return [" ".join(rng.choices(WORDS, k=rng.randint(1, 4))) for _ in range(rng.randint(1, 5))]


def reading(rng, texts):
    kind = rng.randrange(10)
    if kind == 0:
        return []
    if kind == 1:
        return ["".join(rng.choices("#@%&*~ 的一是\x00\u200b", k=rng.randint(0, 9)))]
    if kind == 2:
        return [rng.choice(["No text recognized.", "addCriterion", "No text recognized"])] + texts[:1]
    lines = [noisy(rng, text) for text in texts if rng.random() < 0.9]
    if kind == 3:
        lines.append("ab" * 120 + rng.choice(WORDS))
    rng.shuffle(lines)
    return lines


def cvtg(folder, rng):
    scope = functions(
        os.path.join(folder, "cvtg-2k", "unified_metrics_eval.py"),
        ["get_ld", "extract_words_from_prompt", "compute_ocr_metrics"],
        {"re": re, "logging": None},
    )

    class Evaluator:
        paddleocr_available = True
        get_ld = scope["get_ld"]
        extract_words_from_prompt = scope["extract_words_from_prompt"]
        compute_ocr_metrics = scope["compute_ocr_metrics"]

    evaluator = Evaluator()
    cases = []
    for index in range(CASES):
        texts = phrases(rng)
        if index % 40 == 0:
            texts = ["x" + "ab" * 110 + rng.choice(WORDS)]
        prompt = "A wall" + "".join(f" with a sign that says '{text}'," for text in texts)
        if index % 50 == 7:
            prompt = prompt.replace(" that", "\nthat's")
        lines = reading(rng, texts)
        evaluator.models = {"ocr": Reader(lines)}
        words = evaluator.extract_words_from_prompt(prompt)
        total, correct, similarities = evaluator.compute_ocr_metrics("", words)
        assert total == len(words) == len(similarities)
        cases.append({"prompt": prompt, "lines": lines, "words": words, "correct": correct, "similarities": similarities})
    return cases


def longtext(folder, rng):
    clean = functions(
        os.path.join(folder, "longtext", "evaluate_text_reward.py"), ["clean_and_remove_hallucinations"], {}
    )["clean_and_remove_hallucinations"]
    score = functions(
        os.path.join(folder, "longtext", "summary_scores.py"),
        ["preprocess_string", "counter2list", "calculate_char_match_ratio"],
        {"re": re, "Counter": Counter},
    )
    cases = []
    for index in range(CASES):
        language = ["en", "zh"][index % 2]
        texts = phrases(rng)
        text = "\n".join(reading(rng, texts))
        expected = score["preprocess_string"](" ".join(texts), language)
        read = score["preprocess_string"](clean(text), language)
        match, words, _ = score["calculate_char_match_ratio"](expected, read, language)
        cases.append(
            {"language": language, "texts": texts, "reading": text, "matched": len(match), "expected": len(words)}
        )
    return cases


def main():
    folder = sys.argv[1]
    rng = random.Random(20261125)
    recorded = {"cvtg": cvtg(folder, rng), "longtext": longtext(folder, rng)}
    with open(OUTPUT, "w", encoding="utf-8") as file:
        file.write("{\n")
        for name, cases in recorded.items():
            lines = ",\n".join(json.dumps(case, ensure_ascii=False) for case in cases)
            file.write(f'"{name}": [\n{lines}\n]{"," if name == "cvtg" else ""}\n')
        file.write("}\n")
    assert difflib and len(recorded["cvtg"]) == CASES


if __name__ == "__main__":
    main()
