"""A revision read from git's objects is the one that a checkout of it has."""

from __future__ import annotations

import os
import subprocess
import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.system.test_links import TREES, lay

from pillarbox.images import tree as images
from pillarbox.images.errors import SpecError
from pillarbox.model import DirectoryTree, Tree
from pillarbox.model.read.gittree import GitTree
from pillarbox.revision import RevisionError, contents
from pillarbox.system.errors import PillarboxError


def commit(root: Path) -> None:
    for command in (["init", "-q"], ["add", "-A"], ["commit", "-qm", "x", "--allow-empty"]):
        identity = ["-c", "user.name=Ann", "-c", "user.email=ann@example.org"]
        environment = {**os.environ, "GIT_CONFIG_GLOBAL": "/dev/null"}
        subprocess.run(["git", *identity, *command], cwd=root, check=True, env=environment)


def seen(tree: Tree) -> object:
    """All that the rooms above ask of a tree, or the kind of error that it gives."""
    try:
        listed = tree.files("nodes")
    except PillarboxError:
        return "error"
    return [(file, content(tree, file), tree.exists(file)) for file in listed]


def content(tree: Tree, file: str) -> bytes | str:
    try:
        return tree.read(file)
    except PillarboxError:
        return "error"


def packed(tree: Tree) -> object:
    try:
        return images.read(tree, ["nodes", "a", "missing"])
    except SpecError as error:
        return error.message


# Folders and links with a file's ending, and hidden ones, are part of it.
NAMES = {"a": "a", "b": "b.yml", "c": ".c"}


def inside(tree: dict[str, str | None]) -> dict[str, str | None]:
    return {f"nodes/{named(path)}": target and named(target) for path, target in tree.items()}


def named(path: str) -> str:
    return "/".join(NAMES.get(part, part) for part in path.split("/"))


@settings(max_examples=60, deadline=None)
@given(nodes=TREES.map(inside), beside=TREES, executable=st.booleans())
def test_objects_and_checkout_agree(
    nodes: dict[str, str | None], beside: dict[str, str | None], executable: bool
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder).resolve() / "model"
        root.mkdir()
        links = lay(root, {"nodes/z.yml": None, **nodes, **beside})
        (root / "nodes/z.yml").chmod(0o755 if executable else 0o644)
        commit(root)
        with GitTree(root, "HEAD") as git:
            assert packed(git) == packed(DirectoryTree(root))
            try:
                contents.refuse_links({path: target.encode() for path, target in links.items()})
            except RevisionError:
                return  # Neither is ever asked more of such a tree.
            assert seen(git) == seen(DirectoryTree(root))
