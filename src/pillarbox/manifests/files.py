"""Manifests as files in a directory."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path, PurePosixPath

from pillarbox.manifests.errors import ManifestError
from pillarbox.manifests.manifest import HEADER, Manifest
from pillarbox.system import files


class FileState(StrEnum):
    """How a file of manifests differs from the model."""

    MISSING = "missing"
    STALE = "stale"
    EXTRA = "extra"


@dataclass(frozen=True)
class FileDifference:
    """A file that is not as the model has it."""

    filename: str
    state: FileState

    def __str__(self) -> str:
        return f"{self.state}: {self.filename}"


def check(manifests: Iterable[Manifest], directory: str | Path) -> list[FileDifference]:
    """How ``directory`` differs from ``manifests``; an empty list when it does not. Files of others do not count."""
    root, expected = Path(directory), {each.filename: each.text for each in manifests}
    present = {name: file for name, file in _owned(root)}
    found = [FileDifference(name, FileState.EXTRA) for name in present if name not in expected]
    for name, text in expected.items():
        file = _inside(root, name)
        if not file.is_file():
            found.append(FileDifference(name, FileState.MISSING))
        elif file.read_bytes() != text.encode():
            found.append(FileDifference(name, FileState.STALE))
    return sorted(found, key=lambda each: each.filename)


def write(manifests: Iterable[Manifest], directory: str | Path) -> list[FileDifference]:
    """Make ``directory`` hold ``manifests`` and return what had to change.

    Each file is replaced as a whole or not at all. Files that an earlier rendering left and that are no longer wanted
    are removed, by the first line that all of them carry; a file of somebody else is never touched, and nothing is
    written outside the directory. Raises :class:`ManifestError` where that cannot be kept, before anything is written.
    """
    root, wanted = Path(directory), tuple(manifests)
    if root.is_symlink():
        raise ManifestError(
            f"the directory is a link, to {root.readlink()}", file=root, hint="Remove it, or name the directory itself."
        )
    changes = check(wanted, root)
    texts = {each.filename: each.text for each in wanted}
    for change in changes:
        file = _inside(root, change.filename)
        if change.state is FileState.STALE and not _is_ours(file):
            raise ManifestError("a file that pillarbox did not write is in the way", file=file, hint="Move it away.")
    try:
        for change in changes:
            file = _inside(root, change.filename)
            if change.state is FileState.EXTRA:
                file.unlink()
                _prune(file.parent, root)
            else:
                _replace(file, texts[change.filename])
    except OSError as error:
        raise ManifestError(f"cannot write manifests: {error.strerror}", file=error.filename) from error
    return changes


def _owned(root: Path) -> Iterator[tuple[str, Path]]:
    for folder, _, names in os.walk(root):
        for name in names:
            file = Path(folder, name)
            if file.suffix == ".yml" and not file.is_symlink() and _is_ours(file):
                yield file.relative_to(root).as_posix(), file


def _is_ours(file: Path) -> bool:
    with file.open("rb") as stream:
        return stream.read(len(HEADER)) == HEADER.encode()


def _inside(root: Path, name: str) -> Path:
    path = PurePosixPath(name)
    file = root / path
    if path.is_absolute() or ".." in path.parts or not file.parent.resolve().is_relative_to(root.resolve()):
        raise ManifestError(f"manifest {name} would be written outside {root}")
    return file


def _replace(file: Path, text: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    files.write(file, text)


def _prune(folder: Path, root: Path) -> None:
    while folder != root and not any(folder.iterdir()):
        folder.rmdir()
        folder = folder.parent
