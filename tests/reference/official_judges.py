"""What the official scripts of GenEval, DPG-Bench and OneIG-Bench make of detections, answers and readings, for
`official_scores.py`. The scripts' own functions run with stand-ins for the detector, the models and their files."""

import csv
import io
import json
import os
import random
import re
import runpy
import shutil
import sys
import tempfile
from collections import Counter, defaultdict
from contextlib import redirect_stdout
from types import SimpleNamespace

import numpy as np
import pandas as pd

from official_functions import functions, phrases, reading

CLASSES = ["bench", "cow", "dog", "cup", "tv remote", "zebra"]
COLORS = ["red", "green", "blue", "white"]
RELATIONS = ["left of", "right of", "above", "below"]


# GenEval


def geneval_prompt(rng, task):
    first, second = rng.sample(CLASSES, 2)
    include = [{"class": first, "count": 1}]
    prompt = {"tag": task, "include": include}
    if task == "counting":
        include[0]["count"] = count = rng.randint(1, 5)
        prompt["exclude"] = [{"class": first, "count": count + 1}]
    elif task in ("colors", "color_attr"):
        include[0]["color"] = rng.choice(COLORS)
        include[0]["count"] = rng.choice([1, 1, 2])
    if task in ("two_object", "position", "color_attr"):
        include.append({"class": second, "count": rng.choice([1, 1, 1, 2])})
    if task == "color_attr":
        include[1]["color"] = rng.choice(COLORS)
    if task == "position":
        include[1]["position"] = [rng.choice(RELATIONS), 0]
    if rng.random() < 0.1:
        prompt.setdefault("exclude", []).append({"class": rng.choice(CLASSES), "count": 1})
    return {**prompt, "prompt": f"a photo of {json.dumps(include)}"}


def geneval_boxes(rng, scores):
    """Boxes of a class as rows of left, top, right, bottom and score, in f32."""
    rows = []
    for _ in range(rng.choice([0, 1, 1, 1, 2, 2, 3, 4, 5, 5] * 4 + [20])):
        if rng.random() < 0.6:  # a coarse grid, where centers are on the thresholds
            left, top = rng.randrange(0, 60, 5), rng.randrange(0, 60, 5)
            box = [left, top, left + rng.choice([10, 20, 25]), top + rng.choice([10, 20, 25])]
        else:
            box = [round(rng.uniform(0, 500), 2) for _ in range(4)]
        rows.append(box + [scores.pop()])
    return rows


def geneval(folder):
    rng = random.Random(20261130)
    state = {}
    scope = functions(
        os.path.join(folder, "evaluation", "evaluate_images.py"),
        ["relative_position", "evaluate", "evaluate_image", "compute_iou"],
        {
            "np": np,
            "json": json,
            "Image": SimpleNamespace(open=lambda path: path),
            "ImageOps": SimpleNamespace(exif_transpose=lambda image: image),
            "object_detector": None,
            "inference_detector": lambda detector, path: state["boxes"],
            "color_classification": lambda image, found, name: [state["colors"][box.tobytes()] for box, _ in found],
            "classnames": CLASSES,
            "COLORS": COLORS,
            "THRESHOLD": 0.3,
            "COUNTING_THRESHOLD": 0.9,
            "MAX_OBJECTS": 16,
            "NMS_THRESHOLD": 1.0,
            "POSITION_THRESHOLD": 0.1,
        },
    )
    tasks = ["single_object", "two_object", "counting", "colors", "position", "color_attr"]
    images, results = [], []
    for index in range(360):
        prompt = geneval_prompt(rng, tasks[index % len(tasks)])
        # No two scores are equal, because numpy does not say in which order it sorts equal ones.
        scores = [0.3, 0.9, 0.30000001192092896, 0.8999999761581421]
        scores += [round(rng.uniform(0.88, 0.99), 5) for _ in range(60)] + [round(rng.random(), 5) for _ in range(60)]
        scores = sorted(set(scores))
        rng.shuffle(scores)
        wanted = [item["class"] for item in prompt["include"]]
        boxes = [geneval_boxes(rng, scores) if name in wanted or rng.random() < 0.1 else [] for name in CLASSES]
        state["boxes"] = [np.array(rows, dtype=np.float32).reshape(-1, 5) for rows in boxes]
        asked = [item["color"] for item in prompt["include"] if "color" in item]
        objects, state["colors"] = [], {}
        for name, rows, array in zip(CLASSES, boxes, state["boxes"]):
            for row, box in zip(rows, array):
                color = rng.choice(asked * 6 + COLORS)
                state["colors"][box.tobytes()] = color
                color = {"color": color} if asked else {}
                objects.append({"class": name, "score": row[4], "box": row[:4], **color})
        rng.shuffle(objects)
        result = scope["evaluate_image"](f"{index:05}/samples/0000.png", prompt)
        results.append(result)
        images.append({"prompt": prompt, "objects": objects, "correct": result["correct"]})
    relations = []
    for _ in range(340):
        pair = []
        while len(pair) < 2:
            pair += geneval_boxes(rng, [0.5] * 20)
        pair = [box[:4] for box in pair[:2]]
        arrays = [(np.array(box + [0.5], dtype=np.float32), None) for box in pair]
        found = sorted(scope["relative_position"](*arrays), key=RELATIONS.index)
        relations.append({"boxes": pair, "relations": found})
    return {"images": images, "relations": relations, **geneval_summary(folder, results)}


def geneval_summary(folder, results):
    """What `summary_scores.py` prints for the results, which are written as the scorer writes them."""
    with tempfile.TemporaryDirectory() as scratch:
        path = os.path.join(scratch, "results.jsonl")
        pd.DataFrame(results).to_json(path, orient="records", lines=True)
        script = os.path.join(scratch, "summary_scores.py")
        shutil.copy(os.path.join(folder, "evaluation", "summary_scores.py"), script)
        shutil.copy(os.path.join(folder, "evaluation", "object_names.txt"), scratch)
        output, arguments = io.StringIO(), sys.argv
        try:
            sys.argv = [script, path]
            with redirect_stdout(output):
                runpy.run_path(script, run_name="__main__")
        finally:
            sys.argv = arguments
    text = output.getvalue()
    return {
        "task_percentages": {name: float(share) for name, share in re.findall(r"^(\w+) += ([\d.]+)% \(", text, re.M)},
        "score": float(re.search(r"Overall score .*: ([\d.]+)", text)[1]),
    }


# DPG-Bench

DPG_COLUMNS = "item_id text keywords proposition_id dependency category_broad category_detailed tuple question_natural_language"
DPG_CATEGORIES = ["entity - whole", "entity - state", "attribute - color", "relation - spatial", "global", "other - text"]


def dpg_rows(rng, item):
    """Questions of an item; dependencies mostly refer to earlier questions."""
    count = rng.randint(2, 7)
    for number in range(1, count + 1):
        parents = [rng.randint(1, number - 1) for _ in range(rng.randint(0, 2))] if number > 1 else []
        if rng.random() < 0.05:
            parents = [rng.randint(1, count)]
        if rng.random() < 0.01:
            parents += [count + 1]  # does not exist: the image is dropped
        dependency = rng.choice([",", ", "]).join(map(str, parents)) or "0"
        if item == "0" and number == 2:
            dependency = "1"  # the row of question 1 is the first row, which is skipped
        yield [item, number, dependency, f"{rng.choice(DPG_CATEGORIES)} (thing, {number})"]


def dpg(folder):
    rng = random.Random(20261201)
    names = [f"item{index}" if index % 3 == 1 else str(index) for index in range(340)]
    rows = [row for name in names for row in dpg_rows(rng, name)]
    rows += [["6", 1, "0", "global (late)"], ["6", 1, "0", "global (again)"]]  # replaces the questions of item 6
    items = list(dict.fromkeys(row[0] for row in rows))
    numbers = {item: sorted({row[1] for row in rows if row[0] == item}) for item in items}
    likely = {item: rng.choice([0.2, 0.7, 0.9, 1.0]) for item in items}

    def answer(item):
        if rng.random() < 0.02:
            return rng.choice(["Yes", "yes.", "", "yes it is"])
        return "yes" if rng.random() < likely[item] else "no"

    answers = {item: [{str(number): answer(item) for number in numbers[item]} for _ in range(4)] for item in items}

    class Image:
        def __init__(self, path, part=None):
            self.item, self.part = os.path.basename(path).split(".")[0], part

        def crop(self, box):
            return Image(self.item, box[0] // 512 + 2 * (box[1] // 512))

    class Model:
        def __init__(self, device):
            pass

        def vqa(self, image, question):
            return answers[image.item][image.part][re.search(r"\d+$", question)[0]]

    class Accelerator:
        is_main_process, device, num_processes, process_index = True, "cpu", 1, 0

        def prepare(self, model):
            return model

        def wait_for_everyone(self):
            pass

    with tempfile.TemporaryDirectory() as scratch:
        images = os.path.join(scratch, "images")
        os.mkdir(images)
        for item in items:
            open(os.path.join(images, f"{item}.png"), "w").close()
        table = os.path.join(scratch, "dpg_bench.csv")
        with open(table, "w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(DPG_COLUMNS.split())
            for item, number, dependency, thing in rows:
                writer.writerow([item, "…", "", number, dependency, "", "", thing, f"Is it so? (yes, no) {number}"])
        results = os.path.join(scratch, "results.txt")
        arguments = SimpleNamespace(
            image_root_path=images, resolution=512, csv=table, res_path=results, pic_num=4, vqa_model="mplug"
        )
        scope = functions(
            os.path.join(folder, "dpg_bench", "compute_dpg_bench.py"),
            ["prepare_dpg_data", "crop_image", "compute_dpg_one_sample", "main"],
            {
                "np": np,
                "pd": pd,
                "os": os,
                "osp": os.path,
                "defaultdict": defaultdict,
                "time": SimpleNamespace(time=lambda: 0, localtime=lambda t: t, strftime=lambda *_: "", sleep=lambda _: None),
                "tqdm": lambda items: items,
                "gather_object": lambda items: items,
                "Accelerator": Accelerator,
                "MPLUG": Model,
                "Image": SimpleNamespace(open=Image),
                "parse_args": lambda: arguments,
            },
        )
        with redirect_stdout(io.StringIO()):
            scope["main"]()
        text = open(results, encoding="utf-8").read()
    scores = {
        os.path.basename(path).removesuffix(".png"): float(score)
        for path, score in sorted(re.findall(r"^(/.*\.png), .*, ([\d.e-]+)$", text, re.M))
    }
    named = [sorted(re.findall(r"^\t(.*): ([\d.]+)$", part, re.M)) for part in text.split("L2 category scores:")]
    assert 300 <= len(scores) < len(items) and "0" not in scores
    return {
        "rows": rows,
        "answers": answers,
        "scores": scores,
        "broad_percentages": {name: float(score) for name, score in named[0]},
        "detailed_percentages": {name: float(score) for name, score in named[1]},
        "percentage": float(re.search(r"DPG-Bench score: ([\d.]+)", text)[1]),
    }


# OneIG-Bench


class Frame:
    """Stands in for pandas' table, of which the script sets cells only."""

    def __init__(self, **_):
        self.loc = {}


def oneig(folder):
    rng = random.Random(20261202)
    return {**oneig_text(folder, rng, "EN"), **oneig_text(folder, rng, "ZH")}


def oneig_text(folder, rng, mode):
    scope = functions(
        os.path.join(folder, "scripts", "text", "text_utils.py"),
        [
            "preprocess_string",
            "clean_and_remove_hallucinations",
            "levenshtein_distance",
            "contains_chinese",
            "calculate_char_match_ratio",
        ],
        {"re": re, "np": np, "Counter": Counter},
    )
    texts = [phrases(rng) for _ in range(170)]
    for index in range(0, 170, 17):
        texts[index][0] += "\nA \\ 'B' \"C\""
    cells = [str(text) for text in texts]
    readings = ["\n".join(reading(rng, text)) for text in texts]
    frames = []

    def infer(images, _tokens):
        return [readings[int(image)] for image in images]

    scope.update(
        parse_args=lambda: SimpleNamespace(mode=mode, model_names=["model"], image_grid=["1,1"], image_dirname="images"),
        pd=SimpleNamespace(
            read_csv=lambda *_, **__: {"id": [str(index) for index in range(len(texts))], "text_content": cells},
            DataFrame=Frame,
        ),
        megfile=SimpleNamespace(smart_glob=lambda path: [path.split("/")[-1].rstrip("*")]),
        split_mxn_grid=lambda path, *_: [path],
        save2csv=lambda frame, _path: frames.append(frame.loc),
        Qwen2_5VLBatchInferencer=lambda _: SimpleNamespace(infer_ocr=infer),
        tqdm=lambda items, **_: items,
        formatted_time="",
        os=SimpleNamespace(path=os.path, makedirs=lambda *_, **__: None),
        shutil=None,
    )
    functions(os.path.join(folder, "scripts", "text", "text_score.py"), ["main"], scope)
    with redirect_stdout(io.StringIO()):
        scope["main"]()
    total, by_prompt = frames
    return {
        f"images_{mode.lower()}": [
            {"cell": cell, "reading": read, "scores": by_prompt[str(index), "model"]}
            for index, (cell, read) in enumerate(zip(cells, readings))
        ],
        f"metrics_{mode.lower()}": {
            "edit_distance": total["model", "ED"],
            "completion_rate": total["model", "CR"],
            "word_accuracy": total["model", "WAC"],
            "score": total["model", "text score"],
        },
    }
