"""Run an official script with stand-ins for its large models, for `official_layouts.py`.

    STAND_INS=readings.json stand_ins.py SCRIPT ARGUMENTS…

What a reader finds in an image comes from the file; what a detector finds and a model answers is random, with a seed that
depends on the image."""

import hashlib
import json
import os
import random
import runpy
import sys
from contextlib import nullcontext
from glob import glob
from types import ModuleType, SimpleNamespace

import numpy as np

READINGS = json.load(open(os.environ["STAND_INS"], encoding="utf-8"))


def module(name, **content):
    """Install a module, and the packages that hold it."""
    parts = name.split(".")
    for end in range(1, len(parts) + 1):
        path = ".".join(parts[:end])
        if path not in sys.modules:
            sys.modules[path] = ModuleType(path)
            if end > 1:
                setattr(sys.modules[".".join(parts[: end - 1])], parts[end - 1], sys.modules[path])
    vars(sys.modules[name]).update(content)


class Batch(list):
    """Stands in for a tensor: a list of what each image or text is represented by."""

    def same(self, *_arguments):
        return self

    unsqueeze = to = cpu = float = same

    def numpy(self):
        return np.array(self, np.float32)

    def tolist(self):
        return self.numpy().tolist()


def torch():
    def cat(batches, dim):
        return Batch(item for batch in batches for item in batch)

    module("torch.distributed", init_process_group=lambda *a, **k: None, get_rank=lambda: 0, get_world_size=lambda: 1)
    module("torch.nn", Module=object)
    module("torch.utils.data", Dataset=object, DataLoader=lambda dataset, **k: dataset)
    module("torch.cuda", is_available=lambda: True, device_count=lambda: 1)
    module("torch", set_grad_enabled=lambda on: None, manual_seed=lambda seed: None, no_grad=nullcontext, bfloat16=None)
    module("torch", cat=cat)


def clip():
    """CLIP with features that depend on the end of an image's path, and on a text."""

    def features(batch):
        return Batch([random.Random(item).gauss(0.7, 1) for item in [f"{key} {i}" for i in range(16)]] for key in batch)

    model = SimpleNamespace(eval=lambda: None, encode_image=features, encode_text=features)
    preprocess = lambda image: Batch(["/".join(image.filename.split("/")[-3:])])  # noqa: E731
    module("clip", load=lambda name, **k: (model, preprocess), tokenize=lambda texts, truncate: Batch(texts))
    module("sklearn.preprocessing", normalize=None)
    module("packaging", version=SimpleNamespace(parse=lambda text: [int(n) for n in text.split(".")]))


def paddle():
    class PaddleOCR:
        def __init__(self, **_options):
            pass

        def ocr(self, path, cls):
            lines = READINGS[os.path.abspath(path)]
            return [[[None, (line, 1.0)] for line in lines] or None]

    module("paddleocr", PaddleOCR=PaddleOCR)


def qwen():
    """Qwen2.5-VL through transformers (LongText-Bench)."""

    class Inputs(dict):
        input_ids = [[]]

        def to(self, _device):
            return self

    class Processor:
        apply_chat_template = staticmethod(lambda message, **_options: "")

        def __call__(self, images, **_options):
            return Inputs(images=images)

        def batch_decode(self, images, **_options):
            return ["\n".join(READINGS[os.path.abspath(image)]) for image in images]

    model = SimpleNamespace(generate=lambda images, max_new_tokens: [Sliced(image) for image in images])
    module(
        "transformers",
        Qwen2_5_VLForConditionalGeneration=SimpleNamespace(from_pretrained=lambda *a, **k: model),
        AutoProcessor=SimpleNamespace(from_pretrained=lambda *a, **k: Processor()),
    )
    module("qwen_vl_utils", process_vision_info=lambda message: ([message[0]["content"][0]["image"]], None))


class Sliced(str):
    """Path that stands in for tokens: slicing leaves it."""

    def __getitem__(self, key):
        return self if isinstance(key, slice) else str.__getitem__(self, key)


def oneig():
    """Qwen2.5-VL behind OneIG's own class, which gets the images of a grid as files without a name."""
    state = {}

    def smart_glob(pattern):
        state["paths"] = glob(pattern)
        return state["paths"]

    class Inferencer:
        def __init__(self, _name):
            pass

        def infer_ocr(self, parts, _tokens):
            path = os.path.abspath(state["paths"][0])
            return ["\n".join(READINGS[f"{path}#{part}"]) for part in range(len(parts))]

    module("megfile", smart_glob=smart_glob, smart_open=open)
    module("scripts.utils.inference", Qwen2_5VLBatchInferencer=Inferencer)
    for package in ("scripts", "scripts.utils"):
        sys.modules[package].__path__ = [package.replace(".", "/")]


def oneig_named():
    """The same class for a script that crops one image of a grid after another, in the order of the readings."""
    readings = iter(READINGS.values())

    class Inferencer:
        def __init__(self, _name):
            pass

        def infer_ocr(self, _parts, _tokens):
            return ["\n".join(next(readings))]

    module("scripts.utils.inference", Qwen2_5VLBatchInferencer=Inferencer)


def mplug():
    def pipeline(*_arguments, **_options):
        def answer(asked):
            content = asked["image"].convert("RGB").tobytes() + asked["question"].encode()
            return {"text": "yes" if hashlib.sha256(content).digest()[0] % 4 else "no"}

        return answer

    accelerator = SimpleNamespace(
        is_main_process=True, device="cpu", num_processes=1, process_index=0,
        prepare=lambda model: model, wait_for_everyone=lambda: None,
    )
    module("modelscope.pipelines", pipeline=pipeline)
    module("modelscope.utils.constant", Tasks=SimpleNamespace(visual_question_answering=None))
    module("accelerate", Accelerator=lambda: accelerator)
    module("accelerate.utils", gather_object=lambda values: values)


def pipelines():
    """Detector and classifier through transformers."""

    def detect(image, candidate_labels, threshold):
        rng = random.Random("/".join(image.filename.split("/")[-3:]))
        box = {"xmin": 1, "ymin": 2, "xmax": 30, "ymax": 40}
        return [{"label": rng.choice(candidate_labels), "score": rng.uniform(threshold, 1), "box": box} for _ in range(2)]

    def pipeline(task, model):
        return detect if task == "zero-shot-object-detection" else lambda image, candidate_labels: [{"label": candidate_labels[0]}]

    module("transformers", pipeline=pipeline)


def detector():
    names = os.path.join(os.path.dirname(sys.argv[0]), "object_names.txt")
    names = [line.strip() for line in open(names, encoding="utf-8")]

    def inference_detector(_model, path):
        wanted = json.load(open(os.path.join(os.path.dirname(path), "..", "metadata.jsonl"), encoding="utf-8"))
        rng = random.Random("/".join(path.split("/")[-3:]))
        boxes = [np.zeros((0, 5), np.float32) for _ in names]
        for item in wanted["include"]:
            rows = []
            for _ in range(rng.choice([item["count"]] * 3 + [item["count"] + 1])):
                left, top = rng.uniform(0, 40), rng.uniform(0, 40)
                rows.append([left, top, left + 20, top + 20, rng.uniform(0.9, 1)])
            boxes[names.index(item["class"])] = np.array(rows, np.float32)
        return boxes

    def run_classification(_model, _classifier, objects, _device):
        return np.random.default_rng(len(objects)).random((len(objects), 10)), None

    module("mmdet", __file__="mmdet/__init__.py")
    module("mmdet.apis", inference_detector=inference_detector, init_detector=lambda *a, **k: None)
    module("open_clip", create_model_and_transforms=lambda *a, **k: (None, None, None), get_tokenizer=lambda name: None)
    module(
        "clip_benchmark.metrics.zeroshot_classification",
        zero_shot_classifier=lambda *a: None, run_classification=run_classification,
    )


STAND_INS = {
    "unified_metrics_eval.py": [torch, paddle, clip],
    "clip_scores.py": [torch, clip],
    "paddle_readings.py": [paddle],
    "evaluate_text_reward.py": [torch, qwen],
    "text_score.py": [oneig],
    "oneig_readings.py": [oneig_named],
    "compute_dpg_bench.py": [torch, mplug],
    "dpg_answers.py": [torch, mplug],
    "evaluate_images.py": [torch, detector],
    "geneval_objects.py": [pipelines],
}

if __name__ == "__main__":
    sys.argv = sys.argv[1:]
    sys.path.insert(0, os.getcwd())
    for stand_in in STAND_INS.get(os.path.basename(sys.argv[0]), []):
        stand_in()
    runpy.run_path(sys.argv[0], run_name="__main__")
