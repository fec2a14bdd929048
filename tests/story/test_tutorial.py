"""The tutorial's service of one's own, on the lab: every file and every command of the page, in its order.

What `docs/tutorial/first-cloud.md` does on the lab, `test_story.py` does; its other commands run in `tests/docs`.
"""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest
from tests.docs.pages import DOCS, Command, Reader, environment, steps
from tests.story.lab import COMMAND, PREFIX, Lab, run
from tests.story.test_faults import wait
from tests.story.test_story import push

pytestmark = pytest.mark.lab


def _write_the_manifests(lab: Lab, clone: Path) -> None:
    """The page begins with a model whose manifests are fresh; an upgrade of the tests before this one wrote none."""
    lab.command("clone", clone)
    done = run([*COMMAND, "--model", str(clone), "manifests"], capture_output=True)
    assert done.returncode == 0, done.stdout + done.stderr
    push(clone, "Manifests of what is deployed")


def test_a_service_of_ones_own(lab: Lab, tmp_path: Path, repository: Path) -> None:
    _write_the_manifests(lab, tmp_path / "before")
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
    wait("what the model no longer has is gone", lambda: not lab.objects("pod", "app=frontpage-server"))
