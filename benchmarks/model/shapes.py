"""Generated models of the shapes that engines find hard, the same for the same seed."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from pathlib import Path

Files = Iterator[tuple[str, str]]


def references(seed: int = 1, nodes: int = 50, uses: int = 60, variants: int = 3) -> Files:
    """Every node names each of its classes through a reference, and the classes themselves hold references."""
    dice = random.Random(seed)
    names = [f"variant{number}" for number in range(variants)]
    knobs = "".join(f"    knob{number}: value-{number}\n" for number in range(100))
    yield "classes/base.yml", f"parameters:\n  _param:\n    cluster_name: lab\n{knobs}"
    for use in range(uses):
        for name in names:
            lines = [f"parameters:\n  part{use}:\n    enabled: true\n    release: {name}\n    settings:"]
            lines += [f"      option{number}: {dice.randrange(10**6)}" for number in range(10)]
            lines += [f"      name: part{use}-${{_param:cluster_name}}", f"      knob: ${{_param:knob{use}}}"]
            lines += [f"    list:\n    - {name}\n    - ${{_param:knob{use + 1}}}", f"  common:\n    part{use}: {name}"]
            yield f"classes/part{use}/{name}.yml", "\n".join(lines) + "\n"
    for node in range(nodes):
        lines = ["classes:", "- base"]
        lines += [f"- part{use}.${{_param:variant}}" for use in range(uses)]
        # Classes see what was merged before them: the knob stands in a class, as it does in real models.
        lines.insert(2, f"- knobs.{dice.choice(names)}")
        lines += ["parameters:", "  host:", f"    name: node{node}", f"    address: 10.0.0.{node}"]
        yield f"nodes/node{node:04}.yml", "\n".join(lines) + "\n"
    for name in names:
        yield f"classes/knobs/{name}.yml", f"parameters:\n  _param:\n    variant: {name}\n"


def deep(seed: int = 2, files: int = 400, nodes: int = 120) -> Files:
    """Classes that build on one another and merge deep mappings and lists; no references in class names."""
    dice = random.Random(seed)
    words = ["yes", "text", "17", "0.5"]
    services = [f"service{number}" for number in range(20)]
    for number in range(files):
        lines = []
        if number >= 20:
            lines += ["classes:", *(f"- group{below % 10}.class{below}" for below in dice.sample(range(number), 1))]
        lines.append("parameters:")
        for service in dice.sample(services, 3):
            lines.append(f"  {service}:")
            for part in dice.sample(range(6), 2):
                lines.append(f"    part{part}:")
                options = dice.sample(range(30), 6)
                lines += [f"      option{each}: {dice.choice(words)}" for each in options]
                lines += ["      members:", *(f"      - host{dice.randrange(100)}" for _ in range(3))]
                lines += ["      nested:", f"        level{dice.randrange(5)}:"]
                lines.append(f"          value: {dice.randrange(100)}")
            lines.append(f"    name: ${{_param:name}}-{service}")
        yield f"classes/group{number % 10}/class{number}.yml", "\n".join(lines) + "\n"
    for node in range(nodes):
        picked = dice.sample(range(files // 2, files), 4)
        lines = ["classes:", *(f"- group{number % 10}.class{number}" for number in picked)]
        lines += ["parameters:", "  _param:", f"    name: node{node}"]
        yield f"nodes/node{node:04}.yml", "\n".join(lines) + "\n"


def large(seed: int = 3, nodes: int = 10_000, classes: int = 2_000, groups: int = 100) -> Files:
    """Many nodes in groups that share their class lists, over many classes."""
    dice = random.Random(seed)
    for number in range(classes):
        lines = ["parameters:", f"  component{number % 200}:"]
        lines += [f"    option{each}: {dice.randrange(10**6)}" for each in range(8)]
        lines += [f"    list:\n    - item{number}\n    - item{dice.randrange(100)}"]
        lines += ["    sub:", f"      from{number}: ${{_param:cluster}}-{number}"]
        yield f"classes/tree{number % 40}/class{number}.yml", "\n".join(lines) + "\n"
    yield "classes/base.yml", "parameters:\n  _param:\n    cluster: lab\n"
    lists = []
    for _ in range(groups):
        picked = dice.sample(range(classes), 30)
        lists.append("".join(f"- tree{number % 40}.class{number}\n" for number in picked))
    for node in range(nodes):
        text = f"classes:\n- base\n{lists[node % groups]}parameters:\n  host:\n    name: node{node}\n"
        text += f"    fqdn: node{node}.${{_param:cluster}}.example\n"
        yield f"nodes/rack{node % 100}/node{node:05}.yml", text


SHAPES: dict[str, Callable[[], Files]] = {
    "references": references,
    "deep": deep,
    "large": large,
    # As many nodes and groups as the target for `large` compares with, over the same classes.
    "small": lambda: large(nodes=100, groups=1),
}


def write(shape: str, root: Path) -> Path:
    """Write the model of one shape below ``root``."""
    made: set[Path] = set()
    for name, text in SHAPES[shape]():
        path = root / name
        if path.parent not in made:
            path.parent.mkdir(parents=True, exist_ok=True)
            made.add(path.parent)
        path.write_text(text)
    return root
