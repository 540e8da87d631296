#!/usr/bin/env python3
"""Record what the official scripts of the benchmarks make of readings, detections and answers: tests/golden/evaluation*.json.

The functions are called from the scripts' own files, which are not copied here:

    git clone https://github.com/zlab-princeton/i1                      # CVTG-2K and LongText-Bench
    git clone https://github.com/djghosh13/geneval                      # GenEval
    git clone https://github.com/TencentQQGYLab/ELLA                    # DPG-Bench
    git clone https://github.com/OneIG-Bench/OneIG-Benchmark            # OneIG-Bench
    python3 -m venv venv && venv/bin/pip install Levenshtein==0.27.5 numpy==2.4.6 pandas==3.1.1
    venv/bin/python tests/reference/official_scores.py --i1 i1 --geneval geneval --ella ELLA --oneig OneIG-Benchmark

Only the functions are taken out of the files, so torch and the models are not needed. Without the folder of a
benchmark, its file is left as it is. Last run: 2026-11-30 with i1 at b58a62f, geneval at af4902f,
ELLA at 3c228f1 and OneIG-Benchmark at 41b4983."""

import argparse
import json
import os
import random
import re
from collections import Counter

import difflib  # noqa: F401  (used by an official function)
import Levenshtein  # noqa: F401  (imported by an official function)

from official_clip_score import clip_scores
from official_functions import functions, phrases, reading, WORDS
from official_judges import dpg, geneval, oneig

GOLDEN = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "golden")
CASES = 340


def parser():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, scripts in [("i1", "i1"), ("geneval", "GenEval"), ("ella", "ELLA"), ("oneig", "OneIG-Benchmark")]:
        parser.add_argument(f"--{name}", metavar="DIR", help=f"clone of {scripts}")
    return parser


class Reader:
    """Stands in for PaddleOCR: returns given lines."""

    def __init__(self, lines):
        self.lines = lines

    def ocr(self, _path, cls):
        assert cls
        return [[[None, (line, 1.0)] for line in self.lines] if self.lines else None]


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


def write(name, recorded):
    """Write a file with one case a line."""
    with open(os.path.join(GOLDEN, name), "w", encoding="utf-8") as file:
        file.write("{\n" + ",\n".join(f"{json.dumps(key)}: {lines(value)}" for key, value in recorded.items()) + "\n}\n")


def lines(value):
    """JSON with one item a line, if the items of a list or object are lists or objects."""
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else []
    if not any(isinstance(item, (list, dict)) for item in inner):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, list):
        return "[\n" + ",\n".join(json.dumps(item, ensure_ascii=False) for item in value) + "\n]"
    items = (json.dumps({key: item}, ensure_ascii=False)[1:-1] for key, item in value.items())
    return "{\n" + ",\n".join(items) + "\n}"


def main():
    arguments = parser().parse_args()
    if arguments.i1:
        rng = random.Random(20261125)
        folder = os.path.join(arguments.i1, "benchmark_eval")
        write("evaluation.json", {"cvtg": cvtg(folder, rng), "longtext": longtext(folder, rng)})
        write("evaluation_clip.json", {"clip_score": clip_scores(folder, CASES)})
    if arguments.geneval:
        write("evaluation_geneval.json", geneval(arguments.geneval))
    if arguments.ella:
        write("evaluation_dpg.json", dpg(arguments.ella))
    if arguments.oneig:
        write("evaluation_oneig.json", oneig(arguments.oneig))


if __name__ == "__main__":
    main()
