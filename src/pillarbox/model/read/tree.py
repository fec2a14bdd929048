"""Where model files come from: a directory, or (in :mod:`pillarbox.model.read.gittree`) a git revision."""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from pillarbox.model import limits
from pillarbox.model.errors import ModelError
from pillarbox.system.errors import PillarboxError, raise_all

SUFFIXES = (".yml", ".yaml")
SETTLED = 2_000_000_000
"""Nanoseconds that a file must have been left alone before its times are trusted."""

_SKIPPED = frozenset({"CVS", "SCCS"})


def is_skipped(file: str) -> bool:
    """Whether a folder on the way to ``file`` is hidden or another version control's."""
    return any(part[0] == "." or part in _SKIPPED for part in file.split("/")[:-1])


@dataclass(frozen=True)
class Member:
    """A file of a tree, or a symbolic link that is not followed."""

    path: str
    executable: bool = False
    link: bool = False


class Tree(Protocol):
    """A set of files, named by their path from the model's root with ``/`` between the parts."""

    def files(self, folder: str) -> list[str]:
        """The YAML files under ``folder``, sorted. Raises :class:`ModelError` when there is no such folder."""
        ...

    def members(self, path: str) -> list[Member]:
        """Every file and link at ``path`` and below it, hidden ones too, sorted; none where there is nothing."""
        ...

    def read(self, file: str) -> bytes:
        """The content of one file. Raises :class:`ModelError` when it cannot be read."""
        ...

    def exists(self, file: str) -> bool:
        """Whether there is a file of this name."""
        ...

    def stamp(self, file: str) -> tuple[int | str, ...] | None:
        """What changes when the file's content does, or ``None`` when there is nothing to go by."""
        ...

    def identity(self) -> str:
        """What distinguishes this tree from others, for keeping stamps."""
        ...


class DirectoryTree:
    """The files below a directory, links followed."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._prefix = f"{root}/"
        self._walks = 0

    def files(self, folder: str) -> list[str]:
        if not os.path.isdir(self._prefix + folder):
            raise ModelError(
                f"no {folder}/ in {self.root}", hint="A model has nodes/ and classes/; name its directory with --model."
            )
        found: list[str] = []
        errors: list[PillarboxError] = []
        self._walks = 0
        self._walk(folder, (), found, errors)
        raise_all(errors)
        found.sort()
        return found

    def members(self, path: str) -> list[Member]:
        start = self.root / path
        if start.is_symlink() or not start.is_dir():
            return [self._member(start)] if os.path.lexists(start) else []
        found = []
        for parent, folders, files in os.walk(start):
            links = [name for name in folders if os.path.islink(os.path.join(parent, name))]
            found += [self._member(Path(parent) / name) for name in (*files, *links)]
        return sorted(found, key=lambda member: member.path)

    def _member(self, path: Path) -> Member:
        mode = os.lstat(path).st_mode
        return Member(path.relative_to(self.root).as_posix(), bool(mode & 0o100), stat.S_ISLNK(mode))

    def _walk(
        self, folder: str, above: tuple[tuple[int, int], ...], found: list[str], errors: list[PillarboxError]
    ) -> None:
        path = self.root / folder
        self._walks += 1
        if self._walks > limits.FOLDERS:
            # Links between directories multiply the ways to them.
            raise ModelError(f"expected at most {limits.FOLDERS} directories, found more", file=folder)
        try:
            status = os.stat(path)
            identity = (status.st_dev, status.st_ino)
            if identity in above:
                errors.append(ModelError("the link leads back to a directory above it", file=folder))
                return
            if len(above) > limits.DEPTH:
                errors.append(ModelError(f"expected at most {limits.DEPTH} levels of directories", file=folder))
                return
            with os.scandir(path) as entries:
                for entry in entries:
                    name = entry.name
                    if name.endswith(SUFFIXES) and not _is_folder(entry):
                        found.append(f"{folder}/{name}")
                    elif name[0] != "." and name not in _SKIPPED and _is_folder(entry):
                        self._walk(f"{folder}/{name}", (*above, identity), found, errors)
        except OSError as error:
            errors.append(ModelError(f"cannot read the directory: {error.strerror}", file=folder))

    def read(self, file: str) -> bytes:
        try:
            with open(self._prefix + file, "rb", buffering=0, opener=_open) as stream:
                status = os.fstat(stream.fileno())
                if not stat.S_ISREG(status.st_mode):
                    raise ModelError("expected a file, found something else", file=file)
                if status.st_size > limits.FILE_BYTES:
                    raise ModelError(f"expected at most {limits.FILE_BYTES} bytes, found {status.st_size}", file=file)
                return stream.readall() or b""
        except OSError as error:
            raise ModelError(f"cannot read the file: {error.strerror}", file=file) from None

    def exists(self, file: str) -> bool:
        return (self.root / file).is_file()

    def stamp(self, file: str) -> tuple[int | str, ...] | None:
        try:
            status = os.stat(self._prefix + file)
        except OSError:
            return None
        changed = max(status.st_mtime_ns, status.st_ctime_ns)
        if time.time_ns() - changed < SETTLED:
            # Another write may follow within the clock's tick and leave the same times.
            return None
        return (status.st_mtime_ns, status.st_ctime_ns, status.st_size, status.st_ino, status.st_dev)

    def identity(self) -> str:
        return str(self.root)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:
        # A link through a file, or in a circle: whoever reads it hears so.
        return False


def _open(path: str, flags: int) -> int:
    # A named pipe would otherwise wait for somebody to write.
    return os.open(path, flags | os.O_NONBLOCK)


def node_files(files: Iterable[str], folder: str, compose: bool) -> dict[str, str]:
    """Node names with their files; ``compose`` puts the folders into the name. Raises what is defined twice."""
    return _index(files, folder, "node", compose)


def class_files(files: Iterable[str], folder: str) -> dict[str, str]:
    """Class names with their files: ``a/b.yml`` and ``a/b/init.yml`` are ``a.b``. Raises what is defined twice."""
    return _index(files, folder, "class", True)


def _index(files: Iterable[str], folder: str, what: str, compose: bool) -> dict[str, str]:
    index: dict[str, str] = {}
    errors: list[PillarboxError] = []
    cut = len(folder) + 1
    for file in files:
        relative = file[cut : file.rindex(".")]
        above, _, name = relative.rpartition("/")
        if above and compose:
            if what == "class":
                dotted = above.replace("/", ".")
                name = dotted if name == "init" else f"{dotted}.{name}"
            elif not above.startswith("_"):
                name = f"{above.replace('/', '.')}.{name}"
        if name in index:
            errors.append(ModelError(f"{what} {name} is defined twice, here and in {index[name]}", file=file))
        else:
            index[name] = file
    raise_all(errors)
    return index
