"""Notes of pushes: left by the hook, read by the master, lost without harm because the branch itself says the same."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from pillarbox.system import files, git

_LONGEST = 64 * 1024


@dataclass(frozen=True)
class Note:
    """Who pushed which revision when."""

    revision: str
    by: str
    at: float
    file: Path


def leave(spool: Path, revision: str, by: str) -> Path:
    """Leave a note of a push; complete or not there at all. Raises ``OSError`` when the spool takes nothing."""
    name = f"{time.time_ns():020d}-{revision}.json"
    files.write_json(spool / name, {"revision": revision, "by": by, "at": time.time()})
    return spool / name


def notes(spool: Path) -> Iterator[Note]:
    """What lies in the spool, oldest first. Whoever may push may write here, so nothing in it is believed beyond
    its form; a file of another form is passed over."""
    try:
        files = sorted(path for path in spool.iterdir() if path.suffix == ".json" and not path.name.startswith("."))
    except OSError:
        return
    for file in files:
        try:
            descriptor = os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
            with os.fdopen(descriptor, "rb") as stream:
                given = json.loads(stream.read(_LONGEST))
            revision, by, at = given["revision"], str(given.get("by", "")), float(given.get("at", 0))
        except (OSError, ValueError, KeyError, TypeError):
            continue
        if isinstance(revision, str) and git.is_name(revision):
            yield Note(revision, "".join(char for char in by if char.isprintable())[:200], at, file)


def clear(spool: Path, *, until: float) -> None:
    """Take away notes (and anything else) left before ``until``, in seconds since the epoch."""
    with suppress(OSError):
        for file in spool.iterdir():
            with suppress(OSError):
                if file.lstat().st_mtime <= until:
                    file.unlink()
