"""What the tree of a revision may hold: files and links within it, of sizes and names that a model has."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from pillarbox.revision.errors import RevisionError
from pillarbox.system import links

#: A model is text. These bound what one push can make the server write to disk.
MAX_FILES = 50_000
MAX_FILE = 32 * 2**20
MAX_TREE = 256 * 2**20
MAX_DEPTH = 64
#: Bytes that every file system has room for, in a name; and in a link, or a path with where it is published before it.
MAX_NAME = 255
MAX_PATH = 1000


@dataclass(frozen=True)
class Entry:
    """A file or symbolic link of a tree, as git lists it; ``size`` is in bytes."""

    mode: str
    object: str
    size: int
    path: str

    @property
    def is_link(self) -> bool:
        """Whether it is a symbolic link."""
        return self.mode == "120000"


def checked(entries: Iterable[Entry]) -> Iterator[Entry]:
    """``entries`` as they come. Raises :class:`RevisionError` at the first that no model may hold."""
    count = total = 0
    files: set[str] = set()
    folders: set[str] = set()
    for entry in entries:
        count, total = count + 1, total + entry.size
        _refuse_name(entry.path)
        if entry.mode == "160000":
            raise RevisionError(
                "submodules are not part of a model", file=entry.path, hint="Commit the files themselves."
            )
        _refuse_size(entry, count, total)
        above = ["/".join(entry.path.split("/")[:depth]) for depth in range(1, entry.path.count("/") + 1)]
        if entry.path in files or entry.path in folders or not files.isdisjoint(above):
            raise RevisionError("the tree has two entries of one name", file=entry.path)
        files.add(entry.path)
        folders.update(above)
        yield entry


def refuse_links(targets: Mapping[str, bytes]) -> None:
    """Raise :class:`RevisionError` for a symbolic link that leads out of the tree or in a circle.

    ``targets`` has the content of every link of the tree, by its path.
    """
    known = {path: target.decode("utf-8", "surrogateescape") for path, target in targets.items()}
    for path, target in known.items():
        if not target or "\0" in target or _is_long(target):
            raise RevisionError("not a symbolic link that a model may have", file=path)
        try:
            links.destination(path, known)
        except links.LeadsNowhere:
            raise RevisionError("the symbolic link leads nowhere, in a circle", file=path) from None
        except links.LeadsOut:
            raise RevisionError(f"the symbolic link leads out of the model, to {target!r}", file=path) from None


def _refuse_size(entry: Entry, count: int, total: int) -> None:
    if entry.size > MAX_FILE:
        raise RevisionError(
            f"{entry.size / 2**20:.0f} MiB; a model's file may have {MAX_FILE // 2**20}", file=entry.path
        )
    if total > MAX_TREE:
        raise RevisionError(f"the tree is larger than {MAX_TREE // 2**20} MiB; is something committed by mistake?")
    if count > MAX_FILES:
        raise RevisionError(f"the tree has more than {MAX_FILES} files; is something committed by mistake?")


def _refuse_name(path: str) -> None:
    parts = path.split("/")
    if not path.isprintable():
        # Salt's file server stops serving anything at a name that is not UTF-8.
        raise RevisionError(
            "expected a name of printable characters in UTF-8", file=ascii(path)[1:-1], hint="Rename the file."
        )
    if len(parts) > MAX_DEPTH or any(part in ("", ".", "..") or part.lower() == ".git" for part in parts):
        raise RevisionError("not a path that a model may have", file=path)
    if _is_long(path):
        raise RevisionError(
            f"expected names of at most {MAX_NAME} bytes and paths of at most {MAX_PATH}",
            file=f"{path[:80]}...",
            hint="Rename the file.",
        )


def _is_long(path: str) -> bool:
    """Whether a path could be committed, and not be written where the revision is published."""
    name = max(len(os.fsencode(part)) for part in path.split("/"))
    return name > MAX_NAME or len(os.fsencode(path)) > MAX_PATH
