"""What the formulas of images write: Salt itself compiles each role, and every file is of the format that it claims."""

from __future__ import annotations

import ast
import configparser
import json
import logging.config
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pillarbox.images.spec import FORMULAS, SHARED_STATES, ImageSpec, image_specs, role_files
from pillarbox.model import Inventory
from pillarbox.model.read.tree import DirectoryTree

ROOT = Path(__file__).resolve().parents[2]


def compiled(image: ImageSpec, directory: Path, sls: str | None = None) -> tuple[list[dict[str, Any]], dict[str, str]]:
    """Salt's own low state of an image's role (or another ``sls`` of its formula) and its files, out of the files that
    the build gives it."""
    (directory / "pillar").mkdir()
    (directory / "pillar" / "top.sls").write_text("base:\n  '*':\n  - data\n")
    (directory / "pillar" / "data.sls").write_text("#!json\n" + json.dumps(dict(image.pillar)))
    for file in role_files(DirectoryTree(ROOT), image.formulas):
        (directory / file.path).parent.mkdir(parents=True, exist_ok=True)
        (directory / file.path).write_bytes(file.content)
    options = {
        "id": image.name,
        "file_client": "local",
        "file_roots": {"base": [str(directory / FORMULAS), str(directory / SHARED_STATES)]},
        "pillar_roots": {"base": [str(directory / "pillar")]},
        "root_dir": str(directory),
        "cachedir": str(directory / "cache"),
        "log_file": str(directory / "log"),
        "pki_dir": str(directory / "minion"),
    }
    given = {"options": options, "sls": [f"{image.service}.{sls or image.role}"], "formulas": str(directory / FORMULAS)}
    command = [sys.executable, str(Path(__file__).with_name("compile_host.py"))]
    done = subprocess.run(command, input=json.dumps(given), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    return result["low"], result["files"]


def parse(name: str, text: str) -> None:
    """Raise where a file is not what its name or its first line says."""
    assert "{{" not in text and "{%" not in text, name
    if text.startswith("#!/bin/sh"):
        subprocess.run(["sh", "-n"], input=text, text=True, check=True)
    elif text.startswith("#!/usr/bin/python3"):
        ast.parse(text)
    elif name.endswith(".json"):
        json.loads(text)
    elif name.endswith((".ini", ".conf")) and "rabbitmq" not in name:
        configparser.RawConfigParser(strict=False, allow_no_value=True).read_string(text)


@pytest.mark.parametrize("name", sorted(image_specs(Inventory(ROOT))))
def test_salt_compiles_the_role(tmp_path: Path, name: str) -> None:
    image = image_specs(Inventory(ROOT))[name]
    low, files = compiled(image, tmp_path)
    assert low and all(isinstance(chunk, dict) for chunk in low), low
    identifiers = [(chunk["state"], chunk["__id__"], chunk["name"]) for chunk in low]
    assert len(set(identifiers)) == len(identifiers)
    targets = [chunk["name"] for chunk in low]
    assert len(set(targets)) == len(targets)
    for target, text in files.items():
        parse(target, text)
    assert [target for target in files if target.startswith("/entrypoint.d/")]
    if "openstack" in image.formulas:
        for process in ("api", "expand"):
            assert f"/entrypoint.d/{process}" in files
        assert "/usr/local/bin/api-check" in files
        read = configparser.RawConfigParser()
        read.read_string(files[f"/etc/{image.service}/logging.conf"])
        for logger in read["loggers"]["keys"].split(","):
            assert logging.getLevelName(read[f"logger_{logger.strip()}"]["level"])


@pytest.mark.parametrize("state", [None, "2026-11-25"])
def test_a_state_of_the_packages_is_that_of_the_base_too(tmp_path: Path, state: str | None) -> None:
    image = image_specs(Inventory(ROOT))["memcached-server"]
    packages = {**image.packages, **({"state": state} if state else {})}
    given = replace(image, pillar={"image": {**image.pillar["image"], "packages": packages}})
    low, _ = compiled(given, tmp_path, "packages")
    commands = [chunk["name"] for chunk in low if chunk["state"] == "cmd" and chunk["fun"] == "run"]
    upgrade = [name for name in commands if name.startswith("apt-get upgrade ")]
    assert len(upgrade) == (1 if state else 0)
    if state:
        (upgrades,) = [chunk for chunk in low if chunk["name"] == upgrade[0]]
        assert {"cmd": "packages_left_out"} in upgrades["require"]
        assert {"cmd": "packages"} in upgrades["require_in"]
