"""A model's files at a git revision, read straight from git's objects."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator
from itertools import count
from operator import attrgetter
from pathlib import Path

from pillarbox.model import limits
from pillarbox.model.errors import ModelError
from pillarbox.model.read.tree import SUFFIXES, Member, is_skipped
from pillarbox.system import git, links
from pillarbox.system.errors import PillarboxError, raise_all

_LINK, _EXECUTABLE = "120000", "100755"
_path = attrgetter("path")


class GitTree:
    """The files of one commit or tree, below the folder that ``path`` is in its repository.

    Needs the ``git`` command, no checkout and no index. Symbolic links to files and folders of the same revision are
    followed. Raises :class:`ModelError` when ``path`` is in no repository or the revision is unknown. Close it, or use
    it as a context manager, to end its git process.
    """

    def __init__(self, path: Path, revision: str) -> None:
        self.path = path
        self.revision = revision
        self._git = git.Git(path)
        self._objects = self._git.objects()
        prefix = self._run("rev-parse", "--show-prefix").rstrip("/")
        commit = self._git.name(revision, "object")
        if commit is None:
            raise ModelError(f"no revision {revision} in {path}")
        self.commit = commit
        self._prefix = f"{prefix}/" if prefix else ""
        self._blobs: dict[str, str] = {}
        self._members: list[Member] = []
        found: dict[str, str] = {}
        listing = self._run("ls-tree", "-r", "-z", "--full-tree", self.commit, *([prefix] if prefix else []))
        for entry in listing.split("\0"):
            head, _, name = entry.partition("\t")
            if not entry or not name.startswith(self._prefix):
                continue
            mode, kind, blob = head.split(" ")
            if kind == "blob":
                name = name[len(self._prefix) :]
                (found if mode == _LINK else self._blobs)[name] = blob
                self._members.append(Member(name, mode == _EXECUTABLE, mode == _LINK))
        self._members.sort(key=_path)
        self._links = {name: self._read(blob, name).decode("utf-8", "surrogateescape") for name, blob in found.items()}
        self._folders = _folders((*self._blobs, *self._links))

    def __enter__(self) -> GitTree:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the git process that reads objects."""
        self._objects.close()

    def files(self, folder: str) -> list[str]:
        if self._goal(folder) not in self._folders:
            raise ModelError(f"no {folder}/ in revision {self.revision}")
        found: list[str] = []
        errors: list[PillarboxError] = []
        self._walk(folder, (), found, errors, count(1))
        raise_all(errors)
        return sorted(found)

    def members(self, path: str) -> list[Member]:
        # Sorted by path: what is below a folder stands together, apart from the folder's own name.
        own = bisect_left(self._members, path, key=_path)
        below = bisect_left(self._members, f"{path}/", key=_path)
        after = bisect_left(self._members, f"{path}0", lo=below, key=_path)  # "0" is what follows "/"
        return [item for item in self._members[own : own + 1] if item.path == path] + self._members[below:after]

    def read(self, file: str) -> bytes:
        blob = self._blob(file)
        if blob is None:
            raise ModelError(f"no such file in revision {self.revision}", file=file)
        return self._read(blob, file)

    def exists(self, file: str) -> bool:
        return self._blob(file) is not None

    def stamp(self, file: str) -> tuple[int | str, ...] | None:
        blob = self._blob(file)
        return None if blob is None else (blob,)

    def identity(self) -> str:
        return f"git:{self.path}"

    def _walk(
        self, folder: str, above: tuple[str, ...], found: list[str], errors: list[PillarboxError], walks: Iterator[int]
    ) -> None:
        """Add to ``found`` what :class:`DirectoryTree` finds below ``folder``: a file that is accepted when it is
        pushed is built from a directory. A link that leads nowhere is a file that cannot be read, there and here."""
        goal = self._goal(folder)
        assert goal is not None
        if goal in above:
            errors.append(ModelError("the link leads back to a directory above it", file=folder))
            return
        if len(above) > limits.DEPTH:
            errors.append(ModelError(f"expected at most {limits.DEPTH} levels of directories", file=folder))
            return
        if next(walks) > limits.FOLDERS:
            # Links between directories multiply the ways to them.
            raise ModelError(f"expected at most {limits.FOLDERS} directories, found more", file=folder)
        for name in self._folders[goal]:
            own = f"{goal}/{name}" if goal else name
            is_folder = (self._goal(own) if own in self._links else own) in self._folders
            if name.endswith(SUFFIXES) and not is_folder:
                found.append(f"{folder}/{name}")
            elif is_folder and not is_skipped(f"{name}/"):
                self._walk(f"{folder}/{name}", (*above, goal), found, errors, walks)
        if len(found) > limits.FILES:
            raise ModelError(f"expected at most {limits.FILES} files, found more", file=folder)

    def _blob(self, file: str) -> str | None:
        blob = self._blobs.get(file)
        if blob is None and self._links:
            goal = self._goal(file)
            return None if goal is None else self._blobs.get(goal)
        return blob

    def _goal(self, path: str) -> str | None:
        """Where ``path`` leads, all links on the way followed; nothing where that is nowhere, or out of the tree."""
        try:
            return links.destination(path, self._links, self._folders)
        except (links.LeadsOut, links.LeadsNowhere):
            return None

    def _read(self, blob: str, file: str) -> bytes:
        try:
            return self._objects.read(blob, most=limits.FILE_BYTES)
        except git.GitError as error:
            raise ModelError(error.message, file=file) from error

    def _run(self, *arguments: str) -> str:
        try:
            return self._git.read(*arguments)
        except git.GitError as error:
            raise ModelError(error.message, hint=error.hint) from error


def _folders(paths: Iterable[str]) -> dict[str, list[str]]:
    """Every folder on the way to ``paths``, the root (an empty name) included, with the names in it."""
    found: dict[str, list[str]] = {"": []}
    for path in paths:
        folder, _, name = path.rpartition("/")
        while folder not in found:
            found[folder] = [name]
            folder, _, name = folder.rpartition("/")
        found[folder].append(name)
    return found
