"""The code itself: lint, types, and imports that run one way."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

BIN = Path(sys.executable).parent


@pytest.mark.parametrize(
    "command", [["ruff", "check", "."], ["mypy"], ["lint-imports"]], ids=lambda command: command[0]
)
def test_the_code_keeps_its_rules(repository: Path, command: list[str]) -> None:
    environment = {**os.environ, "PATH": f"{BIN}:{os.environ['PATH']}"}
    done = subprocess.run(
        [str(BIN / command[0]), *command[1:]], cwd=repository, capture_output=True, text=True, env=environment
    )
    assert done.returncode == 0, done.stdout + done.stderr
