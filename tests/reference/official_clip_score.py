"""What CVTG-2K's script computes from the features of CLIP, for `official_scores.py`. The script's own function runs with
stand-ins for CLIP, torch and sklearn."""

import os
import random
import sys
from contextlib import nullcontext
from types import ModuleType, SimpleNamespace

import numpy as np

from official_functions import functions

DIMENSIONS = 12


class Features:
    """Stands in for a tensor of features, or for a batch that nothing looks at."""

    def __init__(self, rows=None):
        self.rows = rows

    def unsqueeze(self, _axis):
        return self

    to = unsqueeze

    def cpu(self):
        return self

    def numpy(self):
        return np.array(self.rows, dtype=np.float32)


def features(rng, case):
    """Features of an image and of its prompt: related, unrelated, opposite, parallel, of unlike sizes."""
    image = [round(rng.gauss(0, 1), 4) for _ in range(DIMENSIONS)]
    noise = [0.1, 1, 10, 0][case % 4]
    sign = -1 if case % 9 == 8 else 1
    text = [round(sign * value + noise * rng.gauss(0, 1), 4) for value in image]
    scale = [1, 1e-3, 250][case % 3]
    return image, [round(scale * value, 7) for value in text]


def clip_scores(folder, cases):
    rng = random.Random(20261130)
    recorded = [dict(zip(("image", "text"), features(rng, case))) for case in range(cases)]
    prompts = [f"prompt {case}" for case in range(cases)]

    def tokenize(texts, truncate):
        assert truncate and texts == [f"A photo depicts {prompt}" for prompt in prompts]
        return Features()

    for name in ("clip", "sklearn", "sklearn.preprocessing"):
        sys.modules[name] = ModuleType(name)
    sys.modules["clip"].tokenize = tokenize
    sys.modules["sklearn"].preprocessing = sys.modules["sklearn.preprocessing"]
    sys.modules["sklearn.preprocessing"].normalize = None
    sys.modules["packaging"] = SimpleNamespace(version=SimpleNamespace(parse=lambda text: [int(n) for n in text.split(".")]))
    scope = functions(
        os.path.join(folder, "cvtg-2k", "unified_metrics_eval.py"),
        ["compute_clip_score_batch"],
        {
            "np": np,
            "logging": None,
            "Image": SimpleNamespace(open=lambda path: path),
            "torch": SimpleNamespace(cat=lambda images, dim: Features(), no_grad=nullcontext),
        },
    )
    model = SimpleNamespace(
        encode_image=lambda batch: Features([case["image"] for case in recorded]),
        encode_text=lambda batch: Features([case["text"] for case in recorded]),
    )
    evaluator = SimpleNamespace(
        clip_available=True,
        device="cpu",
        models={"clip_official": model, "clip_official_preprocess": lambda image: Features()},
    )
    scores = scope["compute_clip_score_batch"](evaluator, prompts, prompts)
    for case, score in zip(recorded, scores, strict=True):
        case["score"] = score
    return recorded
