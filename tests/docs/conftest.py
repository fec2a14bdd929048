"""A copy of the reference model to follow a page in, and the documentation as it is built."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from tests.docs.pages import environment
from tests.gnupg import armored, keyring

PARTS = ("classes", "nodes", "formulas", "images", "manifests")


@pytest.fixture
def commands(tmp_path: Path, repository: Path) -> dict[str, str]:
    return environment(tmp_path, repository)


@pytest.fixture
def clone(tmp_path: Path, repository: Path, commands: dict[str, str]) -> Path:
    """A clone of the reference model, as `pillarbox lab clone model` gives. Beside it is a master's public key."""
    model = tmp_path / "model"
    for part in PARTS:
        shutil.copytree(repository / part, model / part)
    for command in (
        ["init", "--quiet", "--initial-branch=main"],
        ["add", "--all"],
        ["commit", "--quiet", "-m", "Model"],
    ):
        subprocess.run(["git", *command], cwd=model, env=commands, check=True)
    with keyring() as home:
        (tmp_path / "srv01.asc").write_text(armored(home))
    return model


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory, repository: Path) -> Path:
    """The documentation, built as `make docs` does; a warning is an error."""
    built = tmp_path_factory.mktemp("docs")
    environment = {**os.environ, "PYTHONPATH": str(repository / "src")}
    command = [
        sys.executable,
        "-m",
        "sphinx",
        "-n",
        "-W",
        "--keep-going",
        "-q",
        "-d",
        built / "trees",
        "docs",
        built / "site",
    ]
    done = subprocess.run(command, cwd=repository, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return built / "site"
