"""What `official_scores.py` needs for every benchmark: functions out of the official scripts, and random readings."""

import ast

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
