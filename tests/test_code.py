"""The code itself: lint, types, imports that run one way, one place for what has nothing to do with the domain."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

from pillarbox.system import environment

BIN = Path(sys.executable).parent

#: Modules that only the floor imports, and what it offers instead.
FLOOR_MODULES = {
    "fcntl": "pillarbox.system.locks",
    "difflib": "pillarbox.system.names",
    "tenacity": "pillarbox.system.waiting",
    "git": "pillarbox.system.git",
}
#: Functions that only the floor calls, and what it offers instead.
FLOOR_CALLS = {
    "os.replace": "pillarbox.system.files",
    "os.rename": "pillarbox.system.files",
    "os.fsync": "pillarbox.system.files",
    "tempfile.mkstemp": "pillarbox.system.files",
    "tempfile.mkdtemp": "pillarbox.system.files",
    "time.sleep": "pillarbox.system.waiting",
    ".rename": "pillarbox.system.files",
    ".replace": "pillarbox.system.files",
    ".wait": "pillarbox.system.waiting",
}


@pytest.mark.parametrize(
    "command", [["ruff", "check", "."], ["mypy"], ["lint-imports"]], ids=lambda command: command[0]
)
def test_the_code_keeps_its_rules(repository: Path, command: list[str]) -> None:
    environment = {**os.environ, "PATH": f"{BIN}:{os.environ['PATH']}"}
    done = subprocess.run(
        [str(BIN / command[0]), *command[1:]], cwd=repository, capture_output=True, text=True, env=environment
    )
    assert done.returncode == 0, done.stdout + done.stderr


def sources(repository: Path) -> Iterator[tuple[str, ast.Module]]:
    """Each module of the package: its path below it, and its syntax tree."""
    root = repository / "src" / "pillarbox"
    for file in sorted(root.rglob("*.py")):
        yield file.relative_to(root).as_posix(), ast.parse(file.read_text(encoding="utf-8"))


def own_floor(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Lines of a module that do themselves what the floor does, and what that is."""
    names: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                names[alias.asname or alias.name.partition(".")[0]] = alias.name
                if alias.name.partition(".")[0] in FLOOR_MODULES:
                    yield node.lineno, alias.name.partition(".")[0]
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                names[alias.asname or alias.name] = f"{node.module}.{alias.name}"
            if (node.module or "").partition(".")[0] in FLOOR_MODULES and not node.level:
                yield node.lineno, (node.module or "").partition(".")[0]
    for node in ast.walk(tree):
        if isinstance(node, ast.List | ast.Tuple) and node.elts:
            first = node.elts[0]
            if isinstance(first, ast.Constant) and first.value == "git" and isinstance(node.ctx, ast.Load):
                yield node.lineno, "git"
        if not isinstance(node, ast.Call):
            continue
        called = node.func
        if isinstance(called, ast.Name):
            called_name = names.get(called.id, called.id)
        elif isinstance(called, ast.Attribute):
            base = called.value
            known = names.get(base.id) if isinstance(base, ast.Name) else None
            # `text.replace(old, new)` takes two arguments, `path.replace(target)` one.
            one = len(node.args) == 1 and not node.keywords
            called_name = f"{known}.{called.attr}" if known else f".{called.attr}" if one else ""
        else:
            continue
        if called_name in FLOOR_CALLS:
            yield node.lineno, called_name


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("import fcntl", "fcntl"),
        ("def f():\n    from difflib import get_close_matches", "difflib"),
        ("from git import Repo", "git"),
        ("import subprocess\nsubprocess.run(['git', 'log'])", "git"),
        ("import os\nos.replace(a, b)", "os.replace"),
        ("from os import rename as move\nmove(a, b)", "os.rename"),
        ("from tempfile import mkstemp\nmkstemp()", "tempfile.mkstemp"),
        ("import time as clock\nclock.sleep(1)", "time.sleep"),
        ("scratch.replace(file)", ".replace"),
        ("Path(scratch).rename(file)", ".rename"),
        ("over.wait(5)", ".wait"),
        ("text.replace('a', 'b')", None),
        ("import dataclasses\ndataclasses.replace(run, state=1)", None),
        ("over.wait()", None),
        ("from pillarbox.system import git\ngit.run(path, 'log')", None),
    ],
)
def test_it_is_found(source: str, found: str | None) -> None:
    assert [what for _, what in own_floor(ast.parse(source))] == ([found] if found else [])


def test_what_is_the_floors_is_done_on_the_floor(repository: Path) -> None:
    found = {
        (module, what): line
        for module, tree in sources(repository)
        if not module.startswith("system/")
        for line, what in own_floor(tree)
    }
    offers = {**FLOOR_MODULES, **FLOOR_CALLS}
    wrong = [
        f"src/pillarbox/{module}:{line}: {what}: use {offers[what]}" for (module, what), line in sorted(found.items())
    ]
    assert not wrong, "\n".join(wrong)


def test_variables_of_the_environment_are_those_of_the_table(repository: Path) -> None:
    known = {each.name for each in environment.VARIABLES}
    assert len(known) == len(environment.VARIABLES)
    # Click's own, for completion.
    known |= {"_PILLARBOX_COMPLETE"}
    wrong = []
    for module, tree in sources(repository):
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                named = set(re.findall(r"\b_?PILLARBOX_[A-Z_]*", node.value))
                # Texts for people may name a variable; what is nothing but a name is about to be read.
                alone = node.value.strip() in named and module != "system/environment.py"
                if alone or named - known:
                    wrong.append(f"src/pillarbox/{module}:{node.lineno}: {node.value[:60]!r}")
    assert not wrong, "\n".join(wrong)


def test_a_class_name_means_one_thing(repository: Path) -> None:
    places: dict[str, list[str]] = defaultdict(list)
    for module, tree in sources(repository):
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef):
                places[node.name].append(f"src/pillarbox/{module}:{node.lineno}")
    wrong = [f"{name}: {', '.join(where)}" for name, where in sorted(places.items()) if len(where) > 1]
    assert not wrong, "\n".join(wrong)
