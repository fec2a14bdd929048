"""What a pusher sees of a build: a public file a revision, appended to by the master, followed by the hook."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from pillarbox.system import git, waiting
from pillarbox.system.progress import Progress

#: As many files are kept.
KEEP = 100


class Journal:
    """The public progress of one revision's build. Nothing secret is ever part of a build's progress."""

    def __init__(self, directory: Path, revision: str) -> None:
        assert git.is_name(revision)
        self.file = directory / f"{revision}.jsonl"
        self._lock = threading.Lock()

    def begin(self, run: str) -> None:
        """A run has taken the revision up."""
        self.file.parent.mkdir(parents=True, exist_ok=True, mode=0o755)
        self._add({"begin": run})
        _forget(self.file.parent)

    def line(self, text: str) -> None:
        """One line for the pusher."""
        self._add({"line": text})

    def end(self, state: str, text: str) -> None:
        """The run is over: ``state`` as in its record, or ``superseded``."""
        self._add({"end": state, "line": text})

    def _add(self, entry: dict[str, str]) -> None:
        data = (json.dumps({"at": round(time.time(), 3), **entry}) + "\n").encode()
        with self._lock:
            descriptor = os.open(self.file, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
            try:
                os.fchmod(descriptor, 0o644)
                os.write(descriptor, data)
            finally:
                os.close(descriptor)


def follow(
    directory: Path, revision: str, *, patience: float, idle: Callable[[float], None] = lambda seconds: None
) -> Iterator[dict[str, str]]:
    """Entries of a revision's journal as they are written, from the first, until the run ends.

    Stops after ``patience`` seconds without a new entry; ``idle`` is called meanwhile with the seconds waited.
    """
    file = directory / f"{revision}.jsonl"
    start, rest = 0, b""
    heard = time.monotonic()
    while True:
        try:
            with file.open("rb") as stream:
                stream.seek(start)
                chunk = stream.read()
        except OSError:
            chunk = b""
        start += len(chunk)
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            try:
                entry = json.loads(line)
            except ValueError:
                continue
            heard = time.monotonic()
            yield entry
            if "end" in entry:
                return
        if not lines:
            waited = time.monotonic() - heard
            if waited > patience:
                return
            idle(waited)
            # The file grows by another process's hand; what it costs to look is unnoticed, and so is the delay.
            waiting.pause(0.05, str(file))


def tee(progress: Progress, journal: Journal) -> Progress:
    """A progress whose lines go to both."""

    def sink(line: str) -> None:
        journal.line(line)
        progress._sink(line)

    return Progress(sink=sink)


def _forget(directory: Path) -> None:
    files = sorted(directory.glob("*.jsonl"), key=lambda path: path.stat().st_mtime)
    for file in files[:-KEEP]:
        file.unlink(missing_ok=True)
