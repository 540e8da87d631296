"""Write the handmade hostile files. Needs only Python's standard library."""

import json
import struct
from pathlib import Path

HERE = Path(__file__).parent
F32, Q8_0, I8 = 0, 8, 24
U8, U32, STRING, ARRAY, U64 = 0, 4, 8, 9, 10
HUGE = 1 << 63


def write(name, data):
    path = HERE / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def u32(number):
    return struct.pack("<I", number)


def u64(number):
    return struct.pack("<Q", number)


def string(text):
    data = text if isinstance(text, bytes) else text.encode()
    return u64(len(data)) + data


def value(key, kind, data):
    return string(key) + u32(kind) + data


def tensor(name, shape, kind=F32, offset=0, dimensions=None):
    count = u32(len(shape) if dimensions is None else dimensions)
    return string(name) + count + b"".join(map(u64, shape)) + u32(kind) + u64(offset)


def gguf(tensors=(), values=(), data=b"", version=3, tensor_count=None, value_count=None, alignment=32):
    counts = [len(tensors) if tensor_count is None else tensor_count, len(values) if value_count is None else value_count]
    header = b"GGUF" + u32(version) + b"".join(map(u64, counts)) + b"".join(values) + b"".join(tensors)
    return header + bytes(-len(header) % alignment) + data


def nested_arrays(depth):
    return value("deep", ARRAY, (u32(ARRAY) + u64(1)) * depth + u32(U8) + u64(0))


def write_gguf():
    one = [tensor("a", [4])]
    data = bytes(16)
    files = {
        "sound": gguf(one, data=data),
        "magic-alone": b"GGUF",
        "version-1": gguf(version=1),
        "big-endian": b"GGUF" + struct.pack(">I", 3) + bytes(16),
        "tensors-2-to-63": gguf(one, data=data, tensor_count=HUGE),
        "values-2-to-63": gguf(one, data=data, value_count=HUGE),
        "tensors-more-than-there-are": gguf(one, data=data, tensor_count=2),
        "key-2-to-63-bytes": gguf(one, [u64(HUGE) + b"key"], data),
        "text-2-to-64-less-1-bytes": gguf(one, [value("key", STRING, u64(2**64 - 1))], data),
        "array-2-to-63-of-bytes": gguf(one, [value("key", ARRAY, u32(U8) + u64(HUGE))], data),
        "array-2-to-61-of-u64": gguf(one, [value("key", ARRAY, u32(U64) + u64(1 << 61))], data),
        "array-of-unknown-type": gguf(one, [value("key", ARRAY, u32(99) + u64(1) + bytes(8))], data),
        "arrays-4-deep": gguf(one, [nested_arrays(3)], data),
        "arrays-100-deep": gguf(one, [nested_arrays(100)], data),
        "value-of-unknown-type": gguf(one, [value("key", 13, bytes(8))], data),
        "alignment-0": gguf(one, [value("general.alignment", U32, u32(0))], data),
        "alignment-3": gguf(one, [value("general.alignment", U32, u32(3))], data),
        "alignment-2-to-31": gguf(one, [value("general.alignment", U32, u32(1 << 31))], data),
        "alignment-of-another-type": gguf(one, [value("general.alignment", U64, u64(32))], data),
        "name-2-to-63-bytes": gguf([u64(HUGE) + b"a"], data=data),
        "name-not-utf8": gguf([tensor(b"\xff\xfe", [4])], data=data),
        "name-twice": gguf([tensor("a", [4]), tensor("a", [4], offset=32)], data=bytes(48)),
        "dimensions-5": gguf([tensor("a", [1] * 5)], data=data),
        "dimensions-2-to-32-less-1": gguf([tensor("a", [1], dimensions=2**32 - 1)], data=data),
        "axes-overflow": gguf([tensor("a", [1 << 32, 1 << 32])], data=data),
        "axes-overflow-in-bytes": gguf([tensor("a", [1 << 62])], data=data),
        "axes-overflow-but-for-a-0": gguf([tensor("a", [0, HUGE, HUGE])], data=data),
        "axis-0": gguf([tensor("a", [4, 0])], data=data),
        "axis-no-whole-block": gguf([tensor("a", [33], Q8_0)], data=bytes(68)),
        "scalar-in-blocks": gguf([tensor("a", [], Q8_0)], data=bytes(34)),
        "offset-2-to-64-less-32": gguf([tensor("a", [4], offset=2**64 - 32)], data=data),
        "offset-after-the-end": gguf([tensor("a", [4], offset=32)], data=data),
        "offset-not-aligned": gguf([tensor("a", [4], offset=4)], data=bytes(32)),
        "overlapping": gguf([tensor("a", [16]), tensor("b", [8], offset=32)], data=bytes(64)),
        "all-in-one-place": gguf([tensor(f"t{i}", [64]) for i in range(64)], data=bytes(256)),
        "type-unknown": gguf([tensor("a", [4], 2**32 - 1)], data=data),
        "type-without-reader-claims-2-to-64": gguf([tensor("a", [2**64 - 1] * 4, I8)], data=data),
        "scale-nan": gguf([tensor("a", [32], Q8_0)], data=struct.pack("<H", 0x7E00) + bytes(32)),
        "truncated-data": gguf([tensor("a", [4])], data=bytes(15)),
    }
    for name, content in files.items():
        write(f"gguf/{name}.gguf", content)


def safetensors(header, data=b"", length=None):
    text = header if isinstance(header, bytes) else header.encode()
    return u64(len(text) if length is None else length) + text + data


def entry(name, shape, begin, end, dtype="F32", more=""):
    return f'"{name}":{{"dtype":"{dtype}","shape":{shape},"data_offsets":[{begin},{end}]{more}}}'


def write_safetensors():
    a, b = entry("a", [4], 0, 16), entry("b", [4], 16, 32)
    sixteen = bytes(16)
    files = {
        "sound": safetensors(f"{{{a},{b}}}", bytes(32)),
        "fields-that-nobody-knows": safetensors("{" + entry("a", [4], 0, 16, more=',"x":[{}]') + "}", sixteen),
        "7-bytes": bytes(7),
        "length-2-to-63": safetensors(f"{{{a}}}", sixteen, HUGE),
        "length-2-to-64-less-1": safetensors(f"{{{a}}}", sixteen, 2**64 - 1),
        "length-1-too-long": safetensors(f"{{{a}}}", b"", len(a) + 3),
        "length-0": safetensors("", sixteen),
        "header-is-a-list": safetensors(f"[{{{a}}}]", sixteen),
        "header-not-utf8": safetensors(b'{"\xff":1}', sixteen),
        "header-nested-10000-deep": safetensors("[" * 10000),
        "entry-nested-10000-deep": safetensors('{"a":' + "[" * 10000),
        "unknown-field-nested-10000-deep": safetensors("{" + entry("a", [4], 0, 16, more=',"x":' + "[" * 10000)),
        "text-after-the-header": safetensors(f"{{{a}}}x", sixteen),
        "name-twice": safetensors(f"{{{a},{a}}}", sixteen),
        "name-twice-elsewhere": safetensors("{" + a + "," + entry("a", [4], 16, 32) + "}", bytes(32)),
        "metadata-twice": safetensors('{"__metadata__":{},"__metadata__":{},' + a + "}", sixteen),
        "metadata-of-numbers": safetensors('{"__metadata__":{"x":1},' + a + "}", sixteen),
        "metadata-null": safetensors('{"__metadata__":null,' + a + "}", sixteen),
        "shape-negative": safetensors("{" + entry("a", "[-4]", 0, 16) + "}", sixteen),
        "shape-fraction": safetensors("{" + entry("a", "[4.0]", 0, 16) + "}", sixteen),
        "shape-1e999": safetensors("{" + entry("a", "[1e999]", 0, 16) + "}", sixteen),
        "shape-2-to-64": safetensors("{" + entry("a", f"[{2**64}]", 0, 16) + "}", sixteen),
        "shape-overflows": safetensors("{" + entry("a", f"[{1 << 32},{1 << 32}]", 0, 16) + "}", sixteen),
        "shape-overflows-in-bits": safetensors("{" + entry("a", f"[{1 << 59}]", 0, 16) + "}", sixteen),
        "shape-overflows-to-16-bytes": safetensors("{" + entry("a", f"[{(1 << 62) + 4}]", 0, 16) + "}", sixteen),
        "shape-overflows-but-for-a-0": safetensors("{" + entry("a", f"[0,{1 << 63},{1 << 63}]", 0, 0) + "}"),
        "shape-of-1000-axes": safetensors("{" + entry("a", [1] * 1000, 0, 4) + "}", bytes(4)),
        "shape-absent": safetensors('{"a":{"dtype":"F32","data_offsets":[0,16]}}', sixteen),
        "shape-twice": safetensors("{" + entry("a", [4], 0, 16, more=',"shape":[4]') + "}", sixteen),
        "dtype-absent": safetensors('{"a":{"shape":[4],"data_offsets":[0,16]}}', sixteen),
        "dtype-a-number": safetensors('{"a":{"dtype":32,"shape":[4],"data_offsets":[0,16]}}', sixteen),
        "dtype-unknown": safetensors("{" + entry("a", [4], 0, 16, "Q4_K") + "}", sixteen),
        "dtype-not-floats": safetensors("{" + entry("a", [4], 0, 32, "I64") + "}", bytes(32)),
        "dtype-of-half-a-byte": safetensors("{" + entry("a", [3], 0, 2, "F4") + "}", bytes(2)),
        "offsets-backwards": safetensors("{" + entry("a", [4], 16, 0) + "}", sixteen),
        "offsets-after-the-end": safetensors("{" + entry("a", [4], 16, 32) + "}", sixteen),
        "offsets-2-to-64-less-1": safetensors("{" + entry("a", [0], 2**64 - 1, 2**64 - 1) + "}", sixteen),
        "offsets-of-three": safetensors('{"a":{"dtype":"F32","shape":[4],"data_offsets":[0,16,32]}}', sixteen),
        "overlapping": safetensors("{" + a + "," + entry("b", [4], 8, 24) + "}", bytes(24)),
        "hole-between": safetensors("{" + a + "," + entry("b", [4], 20, 36) + "}", bytes(36)),
        "hole-before": safetensors("{" + entry("a", [4], 4, 20) + "}", bytes(20)),
        "hole-after": safetensors("{" + a + "}", bytes(20)),
        "no-tensors-but-data": safetensors("{}", bytes(8)),
    }
    for name, content in files.items():
        write(f"safetensors/{name}.safetensors", content)


def write_shards():
    one = safetensors("{" + entry("a", [4], 0, 16) + "}", bytes(16))
    other = safetensors("{" + entry("b", [4], 0, 16) + "}", bytes(16))
    maps = {
        "sound": {"a": "one.safetensors", "b": "other.safetensors"},
        "above-the-folder": {"a": "../one.safetensors"},
        "through-the-folder-above": {"a": "one.safetensors/../../one.safetensors"},
        "absolute-path": {"a": "/etc/hostname"},
        "empty-name": {"a": ""},
        "the-folder-itself": {"a": "."},
        "with-a-slash": {"a": "one.safetensors/"},
        "with-a-nul": {"a": "one\0.safetensors"},
        "absent-shard": {"a": "three.safetensors"},
        "the-index-itself": {"a": "model.safetensors.index.json"},
        "tensor-of-another-shard": {"a": "other.safetensors"},
        "tensor-of-no-shard": {"c": "one.safetensors"},
        "empty-map": {},
        "map-of-numbers": {"a": 1},
    }
    texts = {name: json.dumps({"metadata": {}, "weight_map": weight_map}) for name, weight_map in maps.items()}
    texts["no-map"] = "{}"
    texts["nested-10000-deep"] = '{"metadata":' + "[" * 10000
    for name, text in texts.items():
        write(f"shards/{name}/model.safetensors.index.json", text.encode())
        write(f"shards/{name}/one.safetensors", one)
        write(f"shards/{name}/other.safetensors", other)
    write("shards/tensor-in-two-shards/model.safetensors.index.json", texts["sound"].encode())
    write("shards/tensor-in-two-shards/one.safetensors", one)
    write("shards/tensor-in-two-shards/other.safetensors", one)


def lora(tensors, config=None):
    header, data = {}, b""
    for name, (shape, values) in tensors.items():
        new = struct.pack(f"<{len(values)}f", *values)
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [len(data), len(data) + len(new)]}
        data += new
    if config is not None:
        header["__metadata__"] = {"lora_adapter_metadata": config}
    return safetensors(json.dumps(header), data)


def write_lora():
    down, up, alpha = "x_embedder.lora_A.weight", "x_embedder.lora_B.weight", "x_embedder.alpha"
    pair = {down: ([1, 16], [0.5] * 16), up: ([32, 1], [0.5] * 32)}
    files = {
        "sound": pair,
        "no-tensors": {},
        "half-alone": {down: pair[down]},
        "alpha-alone": {alpha: ([], [1.0])},
        "ranks-differ": {**pair, up: ([32, 2], [0.5] * 64)},
        "rank-0": {down: ([0, 16], []), up: ([32, 0], [])},
        "one-axis": {**pair, down: ([16], [0.5] * 16)},
        "another-width": {**pair, down: ([1, 17], [0.5] * 17)},
        "value-nan": {**pair, up: ([32, 1], [0.5] * 31 + [float("nan")])},
        "alpha-nan": {**pair, alpha: ([], [float("nan")])},
        "alpha-of-two": {**pair, alpha: ([2], [1.0, 1.0])},
        "alpha-of-none": {**pair, alpha: ([0], [])},
        "two-names-of-one-matrix": {**pair, "x_embedder.lora_down.weight": pair[down]},
        "empty-module-name": {".lora_A.weight": pair[down], ".lora_B.weight": pair[up]},
        "another-method": {**pair, "x_embedder.dora_scale": ([1], [1.0])},
        "no-lora": {"x_embedder.weight": pair[down]},
    }
    for name, tensors in files.items():
        write(f"lora/{name}.safetensors", lora(tensors))
    configs = {
        "config-sound": '{"lora_alpha": 2, "alpha_pattern": {"x_embedder": 4}}',
        "config-alpha-1e300": '{"lora_alpha": 1e300}',
        "config-pattern-1e300": '{"lora_alpha": 1, "alpha_pattern": {"x_embedder": -1e300}}',
        "config-alpha-1e999": '{"lora_alpha": 1e999}',
        "config-alpha-a-text": '{"lora_alpha": "8"}',
        "config-nested-10000-deep": '{"lora_alpha":' + "[" * 10000,
        "config-a-list": "[]",
        "config-empty": "",
        "config-of-dots": '{"....": 1}',
        "config-dora": '{"lora_alpha": 1, "use_dora": true}',
        "config-regular-expression": '{"lora_alpha": 1, "alpha_pattern": {".*": 4}}',
    }
    for name, config in configs.items():
        write(f"lora/{name}/adapter_model.safetensors", lora(pair))
        write(f"lora/{name}/adapter_config.json", config.encode())
    write("lora/metadata-alpha-1e300.safetensors", lora(pair, configs["config-alpha-1e300"]))


if __name__ == "__main__":
    write_gguf()
    write_safetensors()
    write_shards()
    write_lora()
