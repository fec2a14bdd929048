"""What a run was asked, did, and came to: kept as files that outlive the process."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pillarbox.pipeline.errors import PipelineError
from pillarbox.pipeline.report import render

#: As many runs are kept; the oldest go first.
KEEP = 200

RUNNING, SUCCEEDED, FAILED, INTERRUPTED = "running", "succeeded", "failed", "interrupted"


@dataclass
class Run:
    """One run of the pipeline, and its files under ``directory``.

    ``kind`` is build or deploy. ``data`` is what the kind adds: plan, images, outcome. No secret is ever put in it.
    """

    directory: Path
    kind: str
    revision: str
    by: str
    subject: str = ""
    state: str = RUNNING
    started: float = field(default_factory=time.time)
    finished: float | None = None
    error: str = ""
    durations: dict[str, float] = field(default_factory=dict)
    data: dict[str, Any] = field(default_factory=dict)

    @property
    def id(self) -> str:
        """The run's name: sorts by time."""
        return self.directory.name

    @property
    def succeeded(self) -> bool:
        """Whether all of it was done."""
        return self.state == SUCCEEDED

    def as_dict(self) -> dict[str, Any]:
        """The run as plain data."""
        return {
            "id": self.id,
            "kind": self.kind,
            "revision": self.revision,
            "subject": self.subject,
            "by": self.by,
            "state": self.state,
            "started": _iso(self.started),
            "finished": _iso(self.finished) if self.finished else None,
            "seconds": round((self.finished or time.time()) - self.started, 1),
            "error": self.error,
            "durations": {name: round(seconds, 1) for name, seconds in self.durations.items()},
            **self.data,
        }

    def as_text(self) -> str:
        """The report that people read."""
        return render(self.as_dict())

    def save(self) -> None:
        """Write the record; a reader sees the one before or this one, never half of it."""
        _replace(
            self.directory / "run.json", json.dumps({**self.as_dict(), "_at": [self.started, self.finished]}, indent=1)
        )
        _replace(self.directory / "report.txt", self.as_text())

    def finish(self, state: str, error: str = "") -> None:
        """End the run, and write it down."""
        self.state, self.error, self.finished = state, error, time.time()
        self.save()


class Runs:
    """All runs of a master, newest last."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def start(self, kind: str, revision: str, by: str, subject: str = "") -> Run:
        """Begin a run: its record exists from here on."""
        with _recording(self.directory):
            self.directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S.%f")[:-3]
        path = self.directory / f"{stamp}Z-{kind}-{revision[:8]}"
        number = 1
        with _recording(path):
            while True:
                try:
                    path.mkdir(mode=0o700)
                    break
                except FileExistsError:
                    number += 1
                    path = path.with_name(f"{stamp}Z-{kind}-{revision[:8]}-{number}")
        run = Run(path, kind, revision, by, subject)
        run.save()
        self._forget()
        return run

    def __iter__(self) -> Iterator[Run]:
        for name in self.names():
            run = self._load(name)
            if run is not None:
                yield run

    def names(self) -> tuple[str, ...]:
        """The ids of all runs, oldest first."""
        if not self.directory.is_dir():
            return ()
        return tuple(sorted(path.name for path in self.directory.iterdir() if path.is_dir()))

    def last(self, kind: str | None = None, revision: str | None = None, state: str | None = None) -> Run | None:
        """The newest run that fits."""
        for name in reversed(self.names()):
            run = self._load(name)
            if run and kind in (None, run.kind) and revision in (None, run.revision) and state in (None, run.state):
                return run
        return None

    def get(self, name: str) -> Run:
        """The run called ``name``, or the only one whose id ends or starts so."""
        found = [item for item in self.names() if item == name] or [
            item for item in self.names() if item.startswith(name) or item.endswith(name)
        ]
        run = self._load(found[-1]) if found else None
        if run is None:
            raise PipelineError(f"no run {name} in {self.directory}")
        return run

    def close_stale(self) -> None:
        """Mark runs whose process died. To be called by the holder of the pipeline's lock, who knows that none runs."""
        for run in self:
            if run.state == RUNNING:
                run.finish(INTERRUPTED, "its process ended before it did")

    def _load(self, name: str) -> Run | None:
        path = self.directory / name
        try:
            given = json.loads((path / "run.json").read_text(encoding="utf-8"))
            started, finished = given.pop("_at")
        except (OSError, ValueError, KeyError):
            return None
        known = {key: given.pop(key) for key in ("kind", "revision", "by", "subject", "state", "error", "durations")}
        for derived in ("id", "started", "finished", "seconds"):
            given.pop(derived, None)
        return Run(path, started=started, finished=finished, data=given, **known)

    def _forget(self) -> None:
        for name in self.names()[:-KEEP]:
            shutil.rmtree(self.directory / name, ignore_errors=True)


def _replace(file: Path, text: str) -> None:
    with _recording(file), _scratch(file.parent) as (descriptor, scratch):
        with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(scratch, file)


@contextmanager
def _scratch(directory: Path) -> Iterator[tuple[int, Path]]:
    descriptor, name = tempfile.mkstemp(dir=directory, prefix=".new-")
    try:
        yield descriptor, Path(name)
    finally:
        Path(name).unlink(missing_ok=True)


@contextmanager
def _recording(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise PipelineError(
            f"the record of the run cannot be written: {error.strerror}",
            file=path,
            hint="Make room there, or mend its rights; what was pushed is taken up again by itself.",
        ) from error


def _iso(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
