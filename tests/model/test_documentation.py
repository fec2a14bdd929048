"""Every example of the documentation, run."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner

import pillarbox.model
from pillarbox.cli import pillarbox as cli
from pillarbox.model import Inventory
from pillarbox.system.errors import PillarboxError

README = Path(pillarbox.model.__file__).with_name("README.md")
BLOCK = re.compile(r"^```(\w+) ?(.*)\n((?:.*\n)*?)```$", re.MULTILINE)


@dataclass
class Example:
    title: str
    files: dict[str, str] = field(default_factory=dict)
    nodes: dict[str, str] = field(default_factory=dict)
    applications: dict[str, str] = field(default_factory=dict)
    errors: dict[str, str] = field(default_factory=dict)
    sessions: list[str] = field(default_factory=list)


def examples() -> Iterator[Example]:
    for section in re.split(r"^##+ ", README.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]:
        example = Example(section.partition("\n")[0])
        for language, title, text in BLOCK.findall(section):
            kind, _, name = title.partition(" ")
            if language == "console":
                example.sessions.append(text)
            elif kind == "node":
                example.nodes[name] = text
            elif kind == "applications":
                example.applications[name] = text
            elif kind == "error":
                example.errors[name] = text
            else:
                example.files[title] = text
        if example.files:
            yield example


def write(root: Path, files: dict[str, str]) -> Path:
    for folder in ("nodes", "classes"):
        (root / folder).mkdir()
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return root


@pytest.mark.parametrize("example", list(examples()), ids=lambda example: example.title)
def test_example(example: Example, tmp_path: Path) -> None:
    assert example.nodes or example.errors or example.sessions or example.applications, "the example shows nothing"
    root = write(tmp_path, example.files)
    inventory = Inventory(root, cache=None)
    for name, expected in example.nodes.items():
        parameters = dict(inventory.node(name).parameters)
        del parameters["_reclass_"]
        assert parameters == yaml.safe_load(expected)
    for name, expected in example.applications.items():
        assert list(inventory.node(name).applications) == yaml.safe_load(expected)
    for name, expected in example.errors.items():
        with pytest.raises(PillarboxError) as caught:
            inventory.node(name)
        for line in expected.splitlines():
            assert line in str(caught.value)
    for session in example.sessions:
        printed = ""
        for command in re.findall(r"^\$ pillarbox (.*)$", session, re.MULTILINE):
            result = CliRunner().invoke(cli, ["--model", str(root), *command.split(" ")])
            assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
            printed += f"$ pillarbox {command}\n{result.output}"
        assert printed == session
