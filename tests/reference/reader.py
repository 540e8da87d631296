#!/usr/bin/env python3
"""Record what OpenCV, Clipper and RapidOCR return for the steps of PP-OCR: tests/golden/reader.json.

    python3 -m venv venv && venv/bin/pip install rapidocr-onnxruntime==1.4.4
    venv/bin/python tests/reference/reader.py

Last run: 2026-11-25, opencv-python 5.0.0.93, pyclipper 1.4.0, numpy 2.4.6, onnxruntime 1.32.0. OpenCV 4
warps crops with coarser weights."""

import glob
import json
import os
import random

import cv2
import numpy as np
import pyclipper
from rapidocr_onnxruntime import RapidOCR
from rapidocr_onnxruntime.ch_ppocr_det.utils import DBPostProcess
from rapidocr_onnxruntime.ch_ppocr_rec.utils import CTCLabelDecode

HERE = os.path.dirname(os.path.abspath(__file__))
GOLDEN = os.path.join(os.path.dirname(HERE), "golden")
random.seed(20261125)
numbers = np.random.default_rng(20261125)


def pixels(image):
    """Rows as hexadecimal strings."""
    return [row.tobytes().hex() for row in np.ascontiguousarray(image)]


def some_image(width, height):
    coarse = numbers.integers(0, 256, (height // 3 + 1, width // 3 + 1, 3), dtype=np.uint8)
    image = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    noise = numbers.integers(-20, 21, image.shape)
    return np.clip(image.astype(int) + noise, 0, 255).astype(np.uint8)


def resize():
    sizes = [(7, 5, 17, 12), (20, 12, 10, 6), (24, 9, 11, 8), (9, 16, 9, 16), (13, 6, 5, 48), (1, 1, 3, 2)]
    for width, height, new_width, new_height in sizes:
        image = some_image(width, height)
        yield {
            "image": pixels(image),
            "size": [new_width, new_height],
            "result": pixels(cv2.resize(image, (new_width, new_height))),
        }


def masks():
    for density in (0.0, 0.2, 0.5, 0.65, 0.8, 0.95, 1.0):
        yield (numbers.random((14, 22)) < density).astype(np.uint8)
    ring = np.zeros((14, 22), np.uint8)
    ring[1:13, 2:20] = 1
    ring[4:9, 5:12] = 0
    ring[6, 7:9] = 1
    yield ring


def contours():
    for mask in masks():
        found, _ = cv2.findContours(mask * 255, cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
        yield {
            "mask": ["".join(map(str, row)) for row in mask.tolist()],
            "contours": [contour.reshape(-1, 2).tolist() for contour in found],
        }


def point_sets():
    yield [[3, 4]]
    yield [[3, 4], [3, 4], [3, 4]]
    yield [[1, 1], [7, 3]]
    yield [[7, 3], [1, 1], [4, 2]]
    yield [[5, 2], [5, 9]]
    yield [[3, 1], [40, 1], [40, 9], [3, 9]]
    yield [[0, 0], [5, 5], [0, 10], [-5, 5]]
    for _ in range(40):
        count = random.randint(3, 9)
        yield [[random.randint(0, 60), random.randint(0, 25)] for _ in range(count)]
    for _ in range(25):
        angle = random.choice([0, 0, 90, random.uniform(-90, 90)])
        size = (random.uniform(4, 250), random.uniform(4, 40))
        box = cv2.boxPoints(((300.0, 300.0), size, angle)).astype(np.int32)
        mask = np.zeros((600, 600), np.uint8)
        cv2.fillPoly(mask, [box], 255)
        found, _ = cv2.findContours(mask, cv2.RETR_LIST, cv2.CHAIN_APPROX_SIMPLE)
        # Points inside of edges change nothing but the file's length.
        hull = cv2.convexHull(found[0], returnPoints=False).reshape(-1)
        yield found[0].reshape(-1, 2)[np.sort(hull)].tolist()


def rectangles():
    for points in point_sets():
        array = np.array(points, np.int32).reshape(-1, 1, 2)
        (center, size, angle) = rectangle = cv2.minAreaRect(array)
        yield {
            "points": points,
            "hull": cv2.convexHull(array).reshape(-1, 2).tolist(),
            "center": list(center),
            "size": list(size),
            "angle": angle,
            "corners": cv2.boxPoints(rectangle).astype(float).tolist(),
        }


def quadrilaterals():
    for _ in range(30):
        angle = random.choice([0, 0, 90, random.uniform(-90, 90)])
        size = (random.uniform(4, 120), random.uniform(4, 30))
        box = cv2.boxPoints(((70.0, 70.0), size, angle))
        yield box.astype(np.int32).tolist(), random.uniform(1, 15)
    yield [[5, 5], [5, 5], [50, 5], [50, 15], [5, 15]], 6.3
    yield [[5, 15], [50, 15], [50, 5], [5, 5]], 6.3


def offsets():
    for polygon, distance in quadrilaterals():
        offset = pyclipper.PyclipperOffset()
        offset.AddPath(polygon, pyclipper.JT_ROUND, pyclipper.ET_CLOSEDPOLYGON)
        [result] = offset.Execute(distance)
        hull = cv2.convexHull(np.array(result, np.int32)).reshape(-1, 2)
        yield {"polygon": polygon, "distance": distance, "hull": hull.tolist()}


def masks_of_polygons():
    polygons = [
        [[1, 1], [12, 1], [12, 6], [1, 6]],
        [[3, 0], [14, 4], [11, 9], [0, 5]],
        [[0, 8], [9, 0], [15, 2], [5, 9]],
        [[4, 4], [4, 4], [4, 4], [4, 4]],
        [[2, 3], [13, 3], [13, 3], [2, 3]],
        [[7, 0], [9, 1], [8, 9], [6, 9]],
    ]
    for polygon in polygons:
        mask = np.zeros((10, 16), np.uint8)
        cv2.fillPoly(mask, [np.array(polygon, np.int32)], 1)
        yield {"polygon": polygon, "mask": ["".join(map(str, row)) for row in mask.tolist()]}


def crops():
    image = some_image(40, 26)
    quads = [
        [[3, 2], [33, 2], [33, 14], [3, 14]],
        [[4, 5], [36, 1], [37, 12], [5, 17]],
        [[10, 0], [16, 1], [15, 25], [9, 24]],
        [[0, 0], [39, 3], [38, 25], [2, 20]],
    ]
    for quad in quads:
        [crop] = RapidOCR.get_crop_img_list(None, image, [np.array(quad, np.float32)])
        yield {"image": pixels(image), "corners": quad, "size": [crop.shape[1], crop.shape[0]], "crop": pixels(crop)}


def some_map(width, height, boxes):
    values = np.full((height, width), 0.05)
    for center, size, angle in boxes:
        mask = np.zeros((height, width), np.uint8)
        cv2.fillPoly(mask, [cv2.boxPoints((center, size, angle)).astype(np.int32)], 1)
        values[mask > 0] = 0.85
    values += numbers.normal(0, 0.12, values.shape)
    return np.clip(np.round(values * 9), 0, 9).astype(int)


def boxes(detector):
    maps = [
        some_map(96, 64, [((40.0, 14.0), (60.0, 9.0), 0.0), ((45.0, 40.0), (70.0, 12.0), 8.0)]),
        some_map(64, 96, [((20.0, 48.0), (10.0, 70.0), 0.0), ((45.0, 50.0), (9.0, 60.0), -20.0), ((60.0, 5.0), (9.0, 8.0), 0.0)]),
        some_map(96, 32, [((48.0, 16.0), (90.0, 20.0), 0.0)]),
    ]
    for values, scale in zip(maps, (1.0, 0.37, 2.5)):
        height, width = values.shape
        size = (int(height * scale), int(width * scale))
        rules = DBPostProcess(thresh=0.3, box_thresh=0.5, max_candidates=1000, unclip_ratio=1.6, use_dilation=True)
        found, _ = rules((values / 9).astype(np.float32)[None, None], size)
        found = detector.filter_tag_det_res(found, size)
        yield {
            "map": ["".join(map(str, row)) for row in values.tolist()],
            "size": [size[1], size[0]],
            "boxes": found.astype(float).tolist(),
        }


def orders():
    for _ in range(12):
        found = []
        for _ in range(random.randint(1, 9)):
            x, y = random.randint(0, 90), random.randint(0, 40)
            found.append([[x, y], [x + 20, y], [x + 20, y + 8], [x, y + 8]])
        result = RapidOCR.sorted_boxes(np.array(found, np.float32))
        yield {"boxes": found, "sorted": [box.astype(float).tolist() for box in result]}


def sizes(engine):
    for width, height in [(128, 128), (3000, 2000), (2500, 700), (640, 20), (20, 640), (10, 10), (900, 100), (300, 30), (240, 31), (249, 31), (2000, 29), (2400, 100)]:
        image, ratio_h, ratio_w = engine.preprocess(np.full((height, width, 3), 255, np.uint8))
        record = {"preprocess": {"ratio_h": ratio_h, "ratio_w": ratio_w}}
        image, record = engine.maybe_add_letterbox(image, record)
        box = [[3, 7], [50, 8], [51, 2000], [4000, 29]]
        yield {
            "size": [width, height],
            "prepared": [image.shape[1], image.shape[0]],
            "margin": record["padding_1"]["top"],
            "box": box,
            "original": engine._get_origin_points([box], record, height, width)[0].astype(float).tolist(),
        }


def decoded():
    decode = CTCLabelDecode(character=["a", "b", "c"])
    for classes in ([0, 1, 1, 0, 1, 2], [0, 0], [4, 4, 3, 3, 0, 3], [2]):
        table = numbers.random((len(classes), 5)).astype(np.float32) * 0.5
        for row, best in zip(table, classes):
            row[best] = 0.5 + row[best]
        [(text, score)] = decode(table[None])
        yield {"probabilities": table.astype(float).tolist(), "text": text, "score": score}


def readings(engine):
    for path in sorted(glob.glob(os.path.join(GOLDEN, "reader", "*.png"))):
        image = cv2.imread(path)
        for turns in range(4):
            lines, _ = engine(np.rot90(image, -turns).copy())
            yield {
                "image": os.path.basename(path),
                "quarter_turns": turns,
                "lines": [{"text": text, "score": float(score), "corners": box} for box, text, score in lines or []],
            }


def main():
    engine = RapidOCR()
    record = {
        "resize": list(resize()),
        "contours": list(contours()),
        "rectangles": list(rectangles()),
        "offsets": list(offsets()),
        "polygons": list(masks_of_polygons()),
        "crops": list(crops()),
        "boxes": list(boxes(engine.text_det)),
        "orders": list(orders()),
        "sizes": list(sizes(engine)),
        "decoded": list(decoded()),
        "readings": list(readings(engine)),
    }
    with open(os.path.join(GOLDEN, "reader.json"), "w", encoding="utf-8") as file:
        lines = (f"{json.dumps(key)}: [\n" + ",\n".join(json.dumps(case) for case in cases) + "\n]" for key, cases in record.items())
        file.write("{\n" + ",\n".join(lines) + "\n}\n")


if __name__ == "__main__":
    main()
