"""``pillarbox explain``, ``lint`` and ``inventory --diff`` for programs, on the reference model."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.cli.test_inventory import pillarbox

Load = Callable[[str], Any]


@pytest.mark.parametrize(("output_format", "load"), [("yaml", yaml.safe_load), ("json", json.loads)])
def test_why_an_image_has_its_suite(repository: Path, output_format: str, load: Load) -> None:
    done = pillarbox(
        "--model", repository, "explain", "keystone-server", "image:packages:suite", "--format", output_format
    )
    assert done.returncode == 0, done.stderr
    explanation = load(done.stdout)
    chosen = []
    layer = explanation["layers"][-1]
    while layer["choices"]:
        (choice,) = layer["choices"]
        (parameter,) = choice["references"]
        chosen.append((choice["written"], ":".join(parameter["path"])))
        layer = parameter["layers"][-1]
        # What a path and a line name is there.
        lines = (repository / choice["file"]).read_text().splitlines()
        assert lines[choice["line"] - 1] == f"- {choice['written']}"
    assert chosen == [
        ("system.debian.base.${_param:openstack_base}", "_param:openstack_base"),
        ("system.openstack.release.${_param:openstack_version}", "_param:openstack_version"),
    ]
    text = (repository / layer["file"]).read_text().splitlines()[layer["line"] - 1]
    assert text.split() == ["openstack_version:", layer["written"]]
    assert (layer["action"], layer["effective"]) == ("sets", True)


def test_in_text(repository: Path) -> None:
    done = pillarbox("--model", repository, "explain", "keystone-server", "image:packages:suite")
    text = " ".join(done.stdout.split())
    assert "chooses class system.debian.base.bookworm by system.debian.base.${_param:openstack_base}" in text
    assert text.index("_param:openstack_base: ") < text.index("_param:openstack_version: ")


@pytest.mark.parametrize("arguments", [("lint",), ("inventory", "--diff", "HEAD"), ("where", "_param:openstack_*")])
@pytest.mark.parametrize(("output_format", "load"), [("yaml", yaml.safe_load), ("json", json.loads)])
def test_answers_are_plain_data(tmp_path: Path, arguments: tuple[str, ...], output_format: str, load: Load) -> None:
    for name, text in {
        "classes/a.yml": "parameters:\n  _param:\n    openstack_version: zed\n    openstack_version: epoxy\n",
        "nodes/n.yml": "classes: [a]\n",
    }.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    for command in (["init", "-q"], ["add", "."], ["-c", "user.name=a", "-c", "user.email=a@b", "commit", "-qm", "a"]):
        subprocess.run(["git", *command], cwd=tmp_path, check=True)
    (tmp_path / "nodes/n.yml").write_text("classes: [a]\nparameters: {_param: {openstack_base: bookworm}}\n")
    done = pillarbox("--model", tmp_path, *arguments, "--format", output_format)
    found = load(done.stdout)
    assert found, done.stderr
    names = {"lint": ("rule", "duplicate-key"), "inventory": ("kind", "added"), "where": ("section", "parameters")}
    key, value = names[arguments[0]]
    assert found[0][key] == value
    assert type(found[0][key]) is str
