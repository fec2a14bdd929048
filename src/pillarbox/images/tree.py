"""Files of the model that decide an image, as git sees them: path, executable or not, content."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

from pillarbox.images.errors import SpecError
from pillarbox.model import Tree

# Neither git nor an image has a use for these; documentation decides nothing.
IGNORED_NAMES = {"__pycache__", ".git", ".gitignore", ".gitkeep", ".DS_Store"}
IGNORED_SUFFIXES = (".pyc", ".pyo", ".swp", "~", ".orig", ".rej", ".md", ".rst")


@dataclass(frozen=True)
class File:
    """One file: its path relative to the model, whether it is executable, its bytes."""

    path: str
    executable: bool
    content: bytes

    @property
    def digest(self) -> str:
        return hashlib.sha256(self.content).hexdigest()


def read(tree: Tree, paths: Iterable[str]) -> tuple[File, ...]:
    """The files at and below ``paths`` of a model's tree (what does not exist is left out), sorted by path.

    Symbolic links are refused: what they point at would decide the image without being seen.
    """
    found: dict[str, File] = {}
    for start in paths:
        for member in tree.members(start):
            if ignored(member.path, start):
                continue
            if member.link:
                raise SpecError(
                    f"{member.path} is a symbolic link", file=member.path, hint="Put the file itself there."
                )
            found[member.path] = File(member.path, member.executable, tree.read(member.path))
    return tuple(found[path] for path in sorted(found))


def ignored(path: str, start: str) -> bool:
    """Whether what was found at ``path``, looking below ``start``, decides nothing."""
    below = path[len(start) :].strip("/").split("/")
    return path != start and (not IGNORED_NAMES.isdisjoint(below) or below[-1].endswith(IGNORED_SUFFIXES))


def digests(files: Iterable[File]) -> list[list[str]]:
    """What a key says about files: path, mode and digest of each, whatever order they came in."""
    return sorted([file.path, "755" if file.executable else "644", file.digest] for file in files)
