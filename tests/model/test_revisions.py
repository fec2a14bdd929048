"""Models at git revisions, and what differs between them."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from tests.model.reference import write

from pillarbox.model import Inventory
from pillarbox.system.errors import PillarboxError


def git(root: Path, *arguments: str) -> None:
    subprocess.run(
        ["git", "-c", "user.name=t", "-c", "user.email=t@example", "-C", str(root), *arguments],
        check=True,
        capture_output=True,
    )


@pytest.fixture
def model(tmp_path: Path) -> Path:
    root = write(
        tmp_path / "repository" / "model",
        {
            "classes/a.yml": {"parameters": {"x": {"y": 1, "z": [1]}, "kept": True}},
            "nodes/same.yml": {"parameters": {"a": 1}},
            "nodes/n.yml": {"classes": ["a"]},
            "nodes/asks.yml": {"parameters": {"all": "$[ exports:e ]"}},
            "nodes/gone.yml": {},
        },
    )
    os.symlink("a.yml", root / "classes/b.yml")
    git(root, "init", "-q")
    git(root, "add", "-A")
    git(root, "commit", "-q", "-m", "one")
    return root


def test_a_revision_reads_like_its_checkout(model: Path) -> None:
    now, then = Inventory(model, cache=None), Inventory(model, revision="HEAD", cache=None)
    assert then.nodes == now.nodes
    assert then.classes == now.classes == ("a", "b")
    assert then.all() == now.all()


def test_changes(model: Path) -> None:
    write(
        model,
        {
            "classes/a.yml": {"parameters": {"x": {"y": 2, "new": 3}, "kept": True}},
            "nodes/fresh.yml": {"exports": {"e": 1}},
        },
    )
    (model / "nodes/gone.yml").unlink()
    now, then = Inventory(model, cache=None), Inventory(model, revision="HEAD", cache=None)
    changes = [(each.node, each.kind, each.path, each.before, each.after) for each in now.changes_since(then)]
    assert [change for change in changes if change[0] not in ("fresh", "gone")] == [
        ("asks", "added", ("parameters", "all", "fresh"), None, 1),
        ("n", "changed", ("parameters", "x", "y"), 1, 2),
        ("n", "removed", ("parameters", "x", "z"), [1], None),
        ("n", "added", ("parameters", "x", "new"), None, 3),
    ]
    assert [change[:3] for change in changes if change[0] in ("fresh", "gone")] == [
        ("fresh", "added", ()),
        ("gone", "removed", ()),
    ]
    assert [each.node for each in now.changes_since(then, "same")] == []


def test_unknown_revisions(model: Path, tmp_path: Path) -> None:
    with pytest.raises(PillarboxError, match="no revision nothing"):
        Inventory(model, revision="nothing")
    with pytest.raises(PillarboxError):
        Inventory(model, revision="--all")
    with pytest.raises(PillarboxError, match="not a git repository"):
        Inventory(tmp_path, revision="HEAD")
