"""``pillarbox inventory``, as a process: what it prints, where, and its exit code."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

WriteModel = Callable[[dict[str, str]], Path]


def pillarbox(*arguments: str | Path, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", "from pillarbox.cli import main; main()", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, env=env)


MODEL = {
    "nodes/web01.yml": "classes:\n- service.web\nparameters:\n  _param:\n    port: 80\n",
    "classes/service/web.yml": "applications:\n- web\nparameters:\n  web:\n    port: ${_param:port}\n    enabled: On\n",
}


@pytest.mark.parametrize(("output_format", "load"), [("yaml", yaml.safe_load), ("json", json.loads)])
def test_one_node(write_model: WriteModel, output_format: str, load: Callable[[str], dict]) -> None:
    done = pillarbox("--model", write_model(MODEL), "inventory", "web01", "--format", output_format)
    assert done.returncode == 0, done.stderr
    node = load(done.stdout)
    assert node["applications"] == ["web"]
    assert node["parameters"]["web"] == {"port": 80, "enabled": True}


def test_all_nodes_and_the_environment_variable(write_model: WriteModel) -> None:
    done = pillarbox("inventory", env={**os.environ, "PILLARBOX_MODEL": str(write_model(MODEL))})
    assert list(yaml.safe_load(done.stdout)) == ["web01"]


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"nodes/n.yml": "a: [\n"}, ["nodes/n.yml:2", "YAML"]),
        (
            {"nodes/n.yml": "classes:\n- a\n- wbe\n", "classes/web.yml": "", "classes/a.yml": ""},
            ["nodes/n.yml:3", "web"],
        ),
        ({"nodes/n.yml": "parameters:\n  a: ${b:c}\n"}, ["nodes/n.yml:2", "${b:c}"]),
        ({"nodes/n.yml": "classes: 7\n"}, ["n"]),
        ({"nodes/n.yml": "\tx: 1\n"}, ["nodes/n.yml:1"]),
        ({"nodes/a/n.yml": "", "nodes/b/n.yml": ""}, ["n is defined twice"]),
        ({"reclass-config.yml": "classes_uri: ../../etc\n", "nodes/n.yml": ""}, ["out of the model"]),
    ],
)
def test_what_does_not_render_is_named(write_model: WriteModel, files: dict[str, str], expected: list[str]) -> None:
    done = pillarbox("--model", write_model(files), "inventory")
    assert done.returncode == 1
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    for text in expected:
        assert text in done.stderr


def test_unknown_node_names_the_nearest(write_model: WriteModel) -> None:
    done = pillarbox("--model", write_model(MODEL), "inventory", "web1")
    assert done.returncode == 1
    assert "web01" in done.stderr


def test_a_directory_that_is_no_model(tmp_path: Path) -> None:
    done = pillarbox("--model", tmp_path, "inventory")
    assert done.returncode == 1
    assert "nodes" in done.stderr


def test_every_command_has_help() -> None:
    from pillarbox.cli import COMMANDS

    for name in COMMANDS:
        done = pillarbox(name, "--help")
        assert done.returncode == 0, (name, done.stderr)


def test_where_nothing_is_found_it_says_so(write_model: WriteModel) -> None:
    model = write_model({"nodes/n.yml": "parameters:\n  _param:\n    version: zed\n"})
    done = pillarbox("--model", model, "where", "version")
    assert done.returncode == 1 and "try '*version*'" in done.stderr
    assert "nodes/n.yml:3" in pillarbox("--model", model, "where", "*version*").stdout


def test_the_plan_of_a_first_commit(write_model: WriteModel) -> None:
    model = write_model({"classes/a.yml": "{}\n", "nodes/n.yml": "parameters: {salt: {minion: {}}}\n"})
    identity = ["-c", "user.name=T", "-c", "user.email=t@l"]
    for command in (["init", "-q"], ["add", "-A"], ["commit", "-qm", "x"]):
        subprocess.run(["git", "-C", model, *identity, *command], check=True)
    done = pillarbox("--model", model, "plan", "--offline")
    assert done.returncode == 0, done.stderr
    assert "(the first)" in done.stdout and "n (new)" in done.stdout


def test_what_the_machine_refuses_is_an_error_and_no_traceback(write_model: WriteModel, tmp_path: Path) -> None:
    root = write_model(MODEL)
    (tmp_path / "file").touch()
    done = pillarbox("--model", root, "credentials", tmp_path / "file" / "below")
    assert done.returncode == 1
    assert "Not a directory" in done.stderr and "Traceback" not in done.stderr
