"""A model's files at a git revision, read straight from git's objects."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Mapping
from operator import attrgetter
from pathlib import Path

from pillarbox.model import limits
from pillarbox.model.errors import ModelError
from pillarbox.model.read.tree import SUFFIXES, Member, is_skipped
from pillarbox.system import git, links

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
        self._back: list[str] = []
        self._follow({name: self._read(blob, name).decode("utf-8", "surrogateescape") for name, blob in found.items()})

    def __enter__(self) -> GitTree:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the git process that reads objects."""
        self._objects.close()

    def files(self, folder: str) -> list[str]:
        above = f"{folder}/"
        found = [
            name
            for name in self._blobs
            if name.startswith(above) and name.endswith(SUFFIXES) and not is_skipped(name[len(above) :])
        ]
        for name in self._back:
            if name.startswith(above):
                raise ModelError("the link leads back to a directory above it", file=name)
        if not any(name.startswith(above) for name in self._blobs):
            raise ModelError(f"no {folder}/ in revision {self.revision}")
        return sorted(found)

    def members(self, path: str) -> list[Member]:
        # Sorted by path: what is below a folder stands together, apart from the folder's own name.
        own = bisect_left(self._members, path, key=_path)
        below = bisect_left(self._members, f"{path}/", key=_path)
        after = bisect_left(self._members, f"{path}0", lo=below, key=_path)  # "0" is what follows "/"
        return [item for item in self._members[own : own + 1] if item.path == path] + self._members[below:after]

    def read(self, file: str) -> bytes:
        blob = self._blobs.get(file)
        if blob is None:
            raise ModelError(f"no such file in revision {self.revision}", file=file)
        return self._read(blob, file)

    def exists(self, file: str) -> bool:
        return file in self._blobs

    def stamp(self, file: str) -> tuple[int | str, ...] | None:
        blob = self._blobs.get(file)
        return None if blob is None else (blob,)

    def identity(self) -> str:
        return f"git:{self.path}"

    def _follow(self, targets: Mapping[str, str]) -> None:
        """Add what the links lead to; those that lead to nothing, or out of the tree, are no files of it."""
        known = {above for name in (*self._blobs, *targets) for above in _above(name)}
        folders = {}
        for name in sorted(targets):
            try:
                goal = links.destination(name, targets, known)
            except (links.LeadsOut, links.LeadsNowhere):
                continue
            if goal in self._blobs:
                self._blobs[name] = self._blobs[goal]
            elif f"{name}/".startswith(f"{goal}/"):
                self._back.append(name)
            else:
                folders[name] = f"{goal}/"
        for name, goal in folders.items():
            inside = {each: found for each, found in self._blobs.items() if each.startswith(goal)}
            self._blobs.update({f"{name}/{each[len(goal) :]}": found for each, found in inside.items()})
            if len(self._blobs) > limits.FILES:
                # Links between directories multiply the ways to them.
                raise ModelError(f"expected at most {limits.FILES} files, found more", file=name)

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


def _above(path: str) -> Iterator[str]:
    """The folders that ``path`` is in."""
    while "/" in path:
        path = path.rpartition("/")[0]
        yield path
