"""The tutorial's service of one's own, on the lab: every file and every command of the page, in its order.

What `docs/tutorial/first-cloud.md` does on the lab, `test_story.py` does; its other commands run in `tests/docs`.
"""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest
from tests.docs.pages import DOCS, Command, Reader, environment, steps
from tests.story.conftest import PREFIX
from tests.story.lab import Lab

pytestmark = pytest.mark.lab


def test_a_service_of_ones_own(lab: Lab, tmp_path: Path, repository: Path) -> None:
    lab.command("clone", tmp_path / "model")
    commands = environment(tmp_path, repository) | {"PILLARBOX_LAB_NAME": lab.name}
    commands |= {name: value for name, value in os.environ.items() if name.startswith("PILLARBOX_LAB_")}
    reader = Reader(tmp_path, commands)
    # The page's lab is a user's; the tests' lab has another network.
    for step in steps(DOCS / "tutorial" / "own-service.md"):
        if isinstance(step, Command):
            reader.do(replace(step, text=step.text.replace("172.30.20.", f"{PREFIX}.")))
        else:
            reader.do(step)
    assert not lab.objects("pod", "app=frontpage-server"), "the last deploy deletes what the model no longer has"
