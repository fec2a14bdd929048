"""The hook ends in bounded time, whatever is pushed."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from pillarbox.cli.hook import _within
from pillarbox.pipeline.places import Places
from pillarbox.system.errors import PillarboxError


def test_an_expression_that_never_ends_is_refused() -> None:
    with pytest.raises(PillarboxError, match="not rendered within 1 seconds"), _within(1):
        re.match("(a+)+$", "a" * 60 + "b")


@pytest.mark.parametrize(("line", "ends"), [(b"something else", 1), (b"0 1 refs/heads/\xff", 0)])
def test_no_line_on_standard_input_ends_in_a_traceback(tmp_path: Path, line: bytes, ends: int) -> None:
    code = "from pillarbox.cli import main; main(['hook', 'pre-receive'])"
    environment = {**os.environ, "GIT_DIR": str(tmp_path), "PYTHONIOENCODING": "utf-8:strict"}
    done = subprocess.run([sys.executable, "-c", code], input=line, capture_output=True, env=environment)
    assert b"Traceback" not in done.stderr
    assert done.returncode == ends


def test_the_branch_may_be_called_by_its_full_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PILLARBOX_BRANCH", "refs/heads/stable")
    assert Places.of().ref == "refs/heads/stable"
