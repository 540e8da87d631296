#!/usr/bin/env python3
"""Run the official scorers, as they are, on the folders that `evaluate run` writes, and compare with `evaluate score`.

    git clone https://github.com/zlab-princeton/i1                      # CVTG-2K
    git clone https://github.com/X-Omni-Team/X-Omni                     # LongText-Bench
    git clone https://github.com/djghosh13/geneval                      # GenEval
    git clone https://github.com/TencentQQGYLab/ELLA                    # DPG-Bench
    git clone https://github.com/OneIG-Bench/OneIG-Benchmark            # OneIG-Bench
    python3 -m venv venv && venv/bin/pip install Levenshtein==0.27.5 numpy==2.4.6 pandas==3.1.1 pillow tqdm
    venv/bin/python tests/reference/official_layouts.py --clones . --program target/release/evaluate

The images of some prompts are made with the embedded model. Large models are replaced by `stand_ins.py`: what a reader
would find are the texts of the prompt with errors. The official scorers get it from their readers, `evaluate score` from
the scripts in docs/evaluation.md. Last run: 2026-11-30, with i1 at
b58a62f, X-Omni at 2b8237b, geneval at af4902f, ELLA at 3c228f1 and OneIG-Benchmark at 41b4983."""

import argparse
import ast
import csv
import glob
import json
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile

from official_functions import reading

HERE = os.path.dirname(os.path.abspath(__file__))
SMALL = ["-W", "64", "-H", "64", "-n", "1", "--guidance-scale", "1", "--device=flex"]
PROMPTS = 6


class Run:
    """Program, clones, and a folder of work with the images."""

    def __init__(self, program, clones):
        self.program = os.path.abspath(program)
        self.clones = os.path.abspath(clones)
        self.folder = tempfile.mkdtemp()
        self.rng = random.Random(20261130)

    def path(self, *parts):
        return os.path.join(self.folder, *parts)

    def clone(self, *parts):
        return os.path.join(self.clones, *parts)

    def write(self, name, text):
        os.makedirs(os.path.dirname(self.path(name)), exist_ok=True)
        with open(self.path(name), "w", encoding="utf-8") as file:
            file.write(text)
        return self.path(name)

    def images(self, benchmark, prompts):
        """Make the images, and return their folder."""
        folder = self.path(benchmark + "-images")
        command = [self.program, "run", benchmark, "--prompts", prompts, "-o", folder]
        subprocess.run(command + SMALL, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        return folder

    def official(self, script, *arguments, readings=None, cwd=None, path=None):
        """Run an official script, and return what it prints."""
        stand_ins = self.write("readings.json", json.dumps(readings or {}))
        environment = os.environ | {"STAND_INS": stand_ins, "PYTHONPATH": path or ""}
        command = [sys.executable, os.path.join(HERE, "stand_ins.py"), script, *arguments]
        done = subprocess.run(command, env=environment, cwd=cwd or self.folder, capture_output=True, text=True)
        if done.returncode:
            sys.exit(done.stdout + done.stderr)
        return done.stdout

    def adapter(self, name, *arguments, readings=None, cwd=None, path=None):
        """Run a script of docs/evaluation.md, and return the file of what it prints."""
        page = open(os.path.join(HERE, "../../docs/evaluation.md"), encoding="utf-8").read()
        [code] = [code for code in re.findall("```python\n(.*?)```", page, re.S) if code.startswith(f"# {name}\n")]
        printed = self.official(self.write(name, code), *arguments, readings=readings, cwd=cwd, path=path)
        return self.write(name.replace(".py", ".jsonl"), printed)

    def score(self, benchmark, prompts, readings, *arguments):
        command = [self.program, "score", benchmark, "--prompts", prompts, "--readings", readings, "--json", *arguments]
        return json.loads(subprocess.run(command, check=True, capture_output=True).stdout)

    def read(self, images, texts):
        """Invent readings of images with given texts, by path."""
        return {os.path.abspath(image): reading(self.rng, texts(image)) for image in images}


def cvtg(run):
    for path in glob.glob(run.clone("i1/benchmark_eval/cvtg-2k/prompts/*/*.json")):
        data = json.load(open(path, encoding="utf-8"))
        data["data_list"] = data["data_list"][:PROMPTS]
        run.write("/".join(["cvtg"] + path.split("/")[-2:]), json.dumps(data))
    prompts = run.path("cvtg")
    images = run.images("cvtg", prompts)
    files = sorted(glob.glob(images + "/*/*/*.png"))

    def texts(image):
        name, regions, index = image[:-4].split("/")[-3:]
        data = json.load(open(f"{prompts}/{name}/{regions}.json", encoding="utf-8"))["data_list"]
        return re.findall("'(.*?)'", next(item["prompt"] for item in data if str(item["index"]) == index))

    found = run.read(files, texts)
    readings = run.adapter("paddle_readings.py", images, readings=found)
    scores = run.adapter("clip_scores.py", prompts, images)
    result = run.path("cvtg.json")
    script = run.clone("i1/benchmark_eval/cvtg-2k/unified_metrics_eval.py")
    arguments = ["--benchmark_dir", prompts, "--result_dir", images, "--output_file", result, "--cache_dir", run.path("hub")]
    run.official(script, *arguments, readings=found)
    official = json.load(open(result))["overall_results"]
    ours = run.score("cvtg", prompts, readings, "--clip-scores", scores)
    assert official["total_images"] == len(files) == 8 * PROMPTS
    yield "CVTG-2K word accuracy", official["word_accuracy"], ours["word_accuracy"]
    yield "CVTG-2K NED", official["ned"], ours["ned"]
    # The script computes with 32 bits.
    yield "CVTG-2K CLIPScore", round(official["clipscore"], 6), round(ours["clip_score"], 6)


def longtext(run, language):
    name = {"en": "text_prompts.jsonl", "zh": "text_prompts_zh.jsonl"}[language]
    lines = open(run.clone("X-Omni/textbench", name), encoding="utf-8").readlines()[:PROMPTS]
    prompts = run.write("longtext/" + name, "".join(lines))
    texts = {str(item["prompt_id"]): item["text"] for item in map(json.loads, lines)}
    images = run.images({"en": "longtext", "zh": "longtext-zh"}[language], prompts)
    files = sorted(glob.glob(images + "/*.png"))
    found = run.read(files, lambda image: texts[re.split("[_.]", os.path.basename(image))[0]])
    result, scripts = run.path("longtext-" + language), run.clone("X-Omni/textbench")
    arguments = ["--sample_dir", images, "--output_dir", result, "--mode", language]
    run.official(scripts + "/evaluate_text_reward.py", *arguments, readings=found, cwd=run.path("longtext"))
    run.official(scripts + "/summary_scores.py", result + "/results_chunk0.jsonl", "--mode", language)
    rows = [json.loads(line) for line in open(result + "/results.jsonl", encoding="utf-8")]
    official = sum(row["match_word_count"] for row in rows) / sum(row["gt_word_count"] for row in rows)
    assert len(rows) == PROMPTS
    ours = run.score("longtext", prompts, run.adapter("longtext_readings.py", result), "--language", language)
    yield f"LongText-Bench {language}", official, ours["text_accuracy"]


def oneig(run, language):
    clone, folder = run.clone("OneIG-Benchmark"), run.path("oneig-" + language)
    shutil.copytree(clone + "/scripts", folder + "/scripts", dirs_exist_ok=True)
    prompts, contents = {
        "en": ("OneIG-Bench.csv", "text_content.csv"),
        "zh": ("OneIG-Bench-ZH.csv", "text_content_zh.csv"),
    }[language]
    content = list(csv.reader(open(f"{clone}/scripts/text/{contents}", encoding="utf-8")))[: PROMPTS + 1]
    texts = {row[content[0].index("id")]: ast.literal_eval(row[content[0].index("text_content")]) for row in content[1:]}
    table = list(csv.reader(open(f"{clone}/{prompts}", encoding="utf-8-sig")))
    is_kept = lambda row: row[0] == "Text_Rendering" and row[1] in texts  # noqa: E731
    for name, rows in [("scripts/text/" + contents, content), (prompts, table[:1] + list(filter(is_kept, table[1:])))]:
        with open(f"{folder}/{name}", "w", encoding="utf-8", newline="") as file:
            csv.writer(file).writerows(rows)
    images = run.images("oneig", f"{folder}/{prompts}")
    parts = [f"{image}#{part}" for image in sorted(glob.glob(images + "/text/*/*.webp")) for part in range(4)]
    found = run.read(parts, lambda part: texts[os.path.basename(part).split(".")[0]])
    readings = run.adapter("oneig_readings.py", images + "/text/ovis-image", language, readings=found, cwd=folder)
    arguments = ["--mode", language.upper(), "--image_dirname", images + "/text", "--model_names", "ovis-image"]
    run.official("scripts/text/text_score.py", *arguments, "--image_grid", "2,2", readings=found, cwd=folder)
    [result] = glob.glob(f"{folder}/results/text_score_*.csv")
    official = float(next(csv.DictReader(open(result)))["text score"])
    assert len(parts) == 4 * PROMPTS
    shutil.rmtree(images)  # both languages have the same folder
    yield f"OneIG-Bench text {language}", official, run.score("oneig", folder, readings, "--language", language)["text"]


def dpg(run):
    """The questions are invented, in the form of dpg_bench.csv."""
    head = "item_id,text,keywords,proposition_id,dependency,category_broad,category_detailed,tuple,question_natural_language"
    # A name that is not a number, and below a list of parents, without which pandas would read numbers.
    rows = ["first,,,9,0,entity,whole,entity - whole (first row),Is it the first row?"]
    for path in sorted(glob.glob(run.clone("ELLA/dpg_bench/prompts/*.txt")))[:PROMPTS]:
        item = os.path.basename(path)[:-4]
        run.write(f"dpg/{item}.txt", open(path, encoding="utf-8").read())
        for number, parents in enumerate(["0", "1", "1, 2", "3", "0"], 1):
            kind = ["entity - whole", "attribute - color"][number % 2]
            rows.append(f'{item},,,{number},"{parents}",,,"{kind} (it, {number})",Is it number {number}?')
    questions = run.write("dpg_bench/dpg_bench.csv", "\n".join([head, *rows]) + "\n")
    images = run.images("dpg", run.path("dpg"))
    scripts = run.clone("ELLA/dpg_bench")
    arguments = ["--image-root-path", images, "--resolution", "64", "--csv", questions, "--pic-num", "4"]
    said = run.official(scripts + "/compute_dpg_bench.py", *arguments, "--res-path", run.path("dpg.txt"))
    official = float(re.search(r"DPG-Bench score: ([\d.]+)", said)[1]) / 100
    # The script goes through all files of the folder, and says that these two are not images.
    assert set(re.findall("Failed filename: (\\S+)", said)) == {"settings.json", "run.jsonl"}, said
    answers = run.adapter("dpg_answers.py", images, cwd=run.folder, path=scripts)
    yield "DPG-Bench", official, run.score("dpg", questions, answers)["score"]


def geneval(run):
    lines = open(run.clone("geneval/prompts/evaluation_metadata.jsonl"), encoding="utf-8").readlines()
    by_tag = {}
    for line in lines:
        by_tag.setdefault(json.loads(line)["tag"], []).append(line)
    prompts = run.write("evaluation_metadata.jsonl", "".join(line for task in by_tag.values() for line in task[:PROMPTS]))
    images = run.images("geneval", prompts)
    results, scripts = run.path("results.jsonl"), run.clone("geneval/evaluation")
    run.official(scripts + "/evaluate_images.py", images, "--outfile", results)
    said = run.official(scripts + "/summary_scores.py", results)
    official = float(re.search(r"Overall score \(avg. over tasks\): ([\d.]+)", said)[1])
    assert f"Total images: {4 * PROMPTS * len(by_tag)}" in said, said
    yield "GenEval", official, round(run.score("geneval", prompts, results)["score"], 5)
    ours = run.score("geneval", prompts, run.adapter("geneval_objects.py", images))
    yield "GenEval, coverage with another detector", 1, ours["coverage"]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clones", required=True, metavar="DIR", help="folder of the clones")
    parser.add_argument("--program", default="target/release/evaluate", metavar="FILE")
    args = parser.parse_args()
    run = Run(args.program, args.clones)
    failed = False
    benchmarks = [cvtg(run), longtext(run, "en"), longtext(run, "zh"), oneig(run, "en"), oneig(run, "zh"), dpg(run), geneval(run)]
    for results in benchmarks:
        for name, official, ours in results:
            equal = abs(official - ours) < 1e-12
            failed |= not equal
            print(f"{name:40} official {official:.6f}, here {ours:.6f}{'' if equal else '  DIFFERENT'}", flush=True)
    shutil.rmtree(run.folder)
    sys.exit(failed)


if __name__ == "__main__":
    main()
