"""Files of the model that decide an image, as git sees them: path, executable or not, content."""

from __future__ import annotations

import hashlib
import io
import os
import tarfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from pillarbox.images.errors import SpecError

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


def read(root: Path, paths: Iterable[str]) -> tuple[File, ...]:
    """The files at and below ``paths`` (relative to ``root``; what does not exist is left out), sorted by path.

    Symbolic links are refused: what they point at would decide the image without being seen.
    """
    found: dict[str, File] = {}
    for start in paths:
        for path in _walk(root / start):
            relative = path.relative_to(root).as_posix()
            if path.is_symlink():
                raise SpecError(f"{relative} is a symbolic link", file=relative, hint="Put the file itself there.")
            found[relative] = File(relative, bool(path.stat().st_mode & 0o100), path.read_bytes())
    return tuple(found[path] for path in sorted(found))


def _walk(start: Path) -> Iterable[Path]:
    if start.is_symlink() or start.is_file():
        yield start
    for parent, folders, files in os.walk(start):
        links = [name for name in folders if (Path(parent) / name).is_symlink()]
        folders[:] = sorted(name for name in folders if name not in IGNORED_NAMES and name not in links)
        for name in sorted([*files, *links]):
            if name not in IGNORED_NAMES and not name.endswith(IGNORED_SUFFIXES):
                yield Path(parent) / name


def digests(files: Iterable[File]) -> list[list[str]]:
    """What a key says about files: path, mode and digest of each, whatever order they came in."""
    return sorted([file.path, "755" if file.executable else "644", file.digest] for file in files)


def pack(archive: tarfile.TarFile, name: str, content: bytes, mode: int = 0o644) -> None:
    """Add one file, owned by root and as old as the epoch, to an archive."""
    entry = tarfile.TarInfo(name)
    entry.size = len(content)
    entry.mode = mode
    archive.addfile(entry, io.BytesIO(content))
