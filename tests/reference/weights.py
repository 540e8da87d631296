"""Random weights that any program can reproduce bit for bit.

Value `i` of a tensor is `offset + step * (2*k - 31)` with `k = splitmix64(seed, i) >> 59`, where
`splitmix64(seed, i)` is output number `i` (from 0) of the splitmix64 generator started at `seed`.
`step` is an integer of at most 3 bits times a power of two and `offset` is 0 (1 or 2 for the weights of norms), so that every value is exact
in bfloat16 (and in float16): nothing is ever rounded, whatever machine makes it.
"""

import math

import numpy as np
import torch

GOLDEN = np.uint64(0x9E3779B97F4A7C15)


def fnv1a64(text):
    h = 0xCBF29CE484222325
    for b in text.encode():
        h = ((h ^ b) * 0x100000001B3) & 0xFFFFFFFFFFFFFFFF
    return h


def levels(seed, n):
    """Return `2*k - 31` for the first `n` outputs: odd integers from -31 to 31."""
    with np.errstate(over="ignore"):
        z = np.uint64(seed) + np.arange(1, n + 1, dtype=np.uint64) * GOLDEN
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        z = z ^ (z >> np.uint64(31))
    return (z >> np.uint64(59)).astype(np.int64) * 2 - 31


STD = math.sqrt((32 * 32 - 1) / 3)  # of the 32 odd levels


def quantized_step(std):
    """Return the `{4,5,6,7} * 2^e` nearest to the step that gives this standard deviation."""
    step = std / STD
    e = math.floor(math.log2(step)) - 2
    m = min(7, max(4, round(step / 2.0**e)))
    return m * 2.0**e


class Rule:
    """Rule by which a tensor is filled."""

    def __init__(self, key, shape, std, offset=0.0):
        self.seed = fnv1a64(key)
        self.shape = list(shape)
        # around 1: 1 +- 31/128; around 2: 2 +- 31/64; both have 8 significant bits at most
        self.step = offset * 2.0**-7 if offset else quantized_step(std)
        self.offset = offset

    def tensor(self):
        n = math.prod(self.shape)
        v = torch.from_numpy(levels(self.seed, n) * self.step + self.offset).reshape(self.shape)
        b = v.to(torch.bfloat16)
        assert torch.equal(b.double(), v)
        return b

    def spec(self):
        return {"shape": self.shape, "seed": f"{self.seed:016x}", "step": self.step, "offset": self.offset}


def rule_for(key, name, shape, gains):
    """Return the scale for a kind of parameter: nothing is 0, nothing is 1, outputs keep magnitude 1.

    `key` names the tensor for its seed, `gains` is a list of (substring of the name, gain)."""
    gain = next((g for s, g in gains if s in name), 1.0)
    leaf = name.rsplit(".", 1)[-1]
    if len(shape) == 1:
        if leaf == "weight":  # every 1-d weight belongs to a norm
            return Rule(key, shape, None, gain)
        return Rule(key, shape, 0.1 * gain)
    if "embed_tokens" in name:
        return Rule(key, shape, 1.0 * gain)
    return Rule(key, shape, gain / math.sqrt(math.prod(shape[1:])))


def fill(model, prefix, gains):
    """Fill a module in place; return {name: Rule}."""
    rules = {}
    with torch.no_grad():
        for name, p in model.state_dict().items():
            rule = rule_for(f"{prefix}/{name}", name, p.shape, gains)
            p.copy_(rule.tensor().to(p.dtype))
            rules[name] = rule
    return rules
