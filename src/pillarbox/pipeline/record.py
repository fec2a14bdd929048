"""What a run was asked, did, and came to: kept as files that outlive the process."""

from __future__ import annotations

import dataclasses
import json
import logging
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Any

from pillarbox.images import stock
from pillarbox.pipeline.errors import PipelineError
from pillarbox.pipeline.report import render
from pillarbox.system import files

log = logging.getLogger(__name__)

_RECORD = "run.json"
_REPORT = "report.txt"

#: As many runs are kept; the oldest go first.
KEEP = 200


class RunKind(StrEnum):
    """What a run does."""

    BUILD = "build"
    DEPLOY = "deploy"
    BACKUP = "backup"
    RESTORE = "restore"


class RunState(StrEnum):
    """How far a run has come. An interrupted one says nothing about its revision."""

    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    INTERRUPTED = "interrupted"


class ImageState(StrEnum):
    """What a build did for an image: nothing (the registry had it), all, or less."""

    FOUND = "found"
    BUILT = "built"
    FAILED = "failed"


@dataclass(frozen=True)
class ImageRecord:
    """One image of a build. ``seconds``, ``size`` (uncompressed) and ``pushed_size``, both in bytes, are of one that
    was built; ``error`` is of one that failed."""

    name: str
    state: ImageState
    reference: str = ""
    digest: str = ""
    content_key: str = ""
    seconds: float = 0.0
    size: int | None = None
    pushed_size: int | None = None
    error: str = ""

    def as_dict(self) -> dict[str, Any]:
        """The image as plain data, without what is not known of it."""
        return {key: value for key, value in dataclasses.asdict(self).items() if value not in ("", None)}


@dataclass
class Run:
    """One run of the pipeline, and its files under ``directory``. No secret is ever put in it.

    ``images``, ``attempts`` and ``waits`` are of a build: how often it was begun, and whether it ended
    because something that it needs was away, so that the master takes it up again. ``dry_run``, ``hosts`` (what became
    of each) and ``rollout`` (a rollout's outcome as plain data, once there is one) are of a deploy. ``backup`` is the
    one that the run made, as plain data, and ``notes`` are what a person has to know or do after a restore.
    """

    directory: Path
    kind: RunKind
    revision: str
    by: str
    subject: str = ""
    state: RunState = RunState.RUNNING
    started: float = field(default_factory=time.time)
    finished: float | None = None
    error: str = ""
    durations: dict[str, float] = field(default_factory=dict)
    images: tuple[ImageRecord, ...] = ()
    attempts: int = 1
    waits: bool = False
    dry_run: bool = False
    hosts: dict[str, str] = field(default_factory=dict)
    rollout: Mapping[str, Any] | None = None
    backup: Mapping[str, Any] | None = None
    notes: tuple[str, ...] = ()

    @property
    def id(self) -> str:
        """The run's name: sorts by time."""
        return self.directory.name

    @property
    def succeeded(self) -> bool:
        """Whether all of it was done."""
        return self.state is RunState.SUCCEEDED

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
            **self._details(),
        }

    def _details(self) -> dict[str, Any]:
        if self.kind is RunKind.BUILD:
            return {
                "images": [image.as_dict() for image in self.images],
                "attempts": self.attempts,
                "waits": self.waits,
            }
        return {
            "dry_run": self.dry_run,
            "hosts": self.hosts,
            "rollout": self.rollout,
            "backup": self.backup,
            "notes": list(self.notes),
        }

    def as_text(self) -> str:
        """The report that people read."""
        return render(self)

    def save(self) -> None:
        """Write the record; a reader sees the one before or this one, never half of it."""
        with _recording(self.directory):
            self._write(self.directory)

    def _write(self, directory: Path) -> None:
        # The record goes last, and stands for both: who is ended in between has not ended the run.
        files.write(directory / _REPORT, self.as_text(), mode=0o600)
        record = {**self.as_dict(), "_at": [self.started, self.finished]}
        files.write_json(directory / _RECORD, record, mode=0o600, indent=1)

    def begin(self) -> None:
        """Make the directory, with the record in it."""
        with _recording(self.directory), files.making(self.directory, mode=0o700) as scratch:
            self._write(scratch)

    def resume(self) -> None:
        """Begin a run that waits once more."""
        self.attempts, self.waits = self.attempts + 1, False
        self.state, self.error, self.finished = RunState.RUNNING, "", None
        self.save()

    def finish(self, state: RunState, error: str = "") -> None:
        """End the run, and write it down."""
        self.state, self.error, self.finished = state, error, time.time()
        self.save()


@dataclass(frozen=True)
class Unreadable:
    """The directory of a run whose record is missing, damaged or of another version of the program, and ``why``."""

    directory: Path
    why: str

    def __str__(self) -> str:
        return f"{self.directory}: the record of this run cannot be read and is passed over: {self.why}"


class Runs:
    """All runs of a master, newest last. What cannot be read of them stops nothing: see :meth:`unreadable`."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def start(self, kind: RunKind, revision: str, by: str, subject: str = "") -> Run:
        """Begin a run: directory and record come into being together. For the holder of the pipeline's lock."""
        now = time.time()
        path = self.directory / f"{stamp(datetime.fromtimestamp(now, UTC))}-{kind}-{revision[:8]}"
        first, number = path.name, 1
        while path.exists():
            number += 1
            path = path.with_name(f"{first}-{number}")
        run = Run(path, kind, revision, by, subject, started=now)
        run.begin()
        self._forget()
        return run

    def __iter__(self) -> Iterator[Run]:
        return (found for found in map(self._load, self.names()) if isinstance(found, Run))

    def __reversed__(self) -> Iterator[Run]:
        """Newest first."""
        return (found for found in map(self._load, reversed(self.names())) if isinstance(found, Run))

    def unreadable(self) -> tuple[Unreadable, ...]:
        """The runs that are passed over, oldest first."""
        return tuple(found for found in map(self._load, self.names()) if isinstance(found, Unreadable))

    def names(self) -> tuple[str, ...]:
        """The ids of all runs, oldest first."""
        try:
            found = [entry.name for entry in os.scandir(self.directory) if entry.is_dir() and entry.name[:1] != "."]
        except FileNotFoundError:
            return ()
        return tuple(sorted(found))

    def last(
        self, kind: RunKind | None = None, revision: str | None = None, state: RunState | None = None
    ) -> Run | None:
        """The newest run that fits."""
        for run in reversed(self):
            if kind in (None, run.kind) and revision in (None, run.revision) and state in (None, run.state):
                return run
        return None

    def done(self, kind: RunKind) -> Iterator[Run]:
        """The runs of that kind that did what they were for, newest first: they succeeded, and were no trials."""
        return (run for run in reversed(self) if run.kind is kind and run.succeeded and not run.dry_run)

    def standing(self, kind: RunKind) -> Run | None:
        """The newest run of that kind that did what it was for."""
        return next(self.done(kind), None)

    def get(self, name: str) -> Run:
        """The run called ``name``, or the only one whose id ends or starts so."""
        found = [item for item in self.names() if item == name] or [
            item for item in self.names() if item.startswith(name) or item.endswith(name)
        ]
        if not found:
            raise PipelineError(f"no run {name} in {self.directory}")
        run = self._load(found[-1])
        if isinstance(run, Unreadable):
            raise PipelineError(f"the record of the run cannot be read: {run.why}", file=run.directory)
        return run

    def digests(self) -> dict[str, str]:
        """The digest of every image that a build recorded, the newest counting, as :func:`stock.take` wants them.
        Nothing for who may not read the records."""
        try:
            images = [image for run in self for image in run.images if image.digest and image.content_key]
        except PermissionError:
            return {}
        return {stock.identity(image.reference.rpartition(":")[0], image.content_key): image.digest for image in images}

    def close_stale(self) -> None:
        """Mark runs whose process died, and clear away what it was making. To be called by the holder of the pipeline's
        lock, who knows that none runs."""
        files.sweep(self.directory)
        for found in map(self._load, self.names()):
            if isinstance(found, Unreadable):
                log.warning("%s", found)
            elif found.state is RunState.RUNNING:
                files.sweep(found.directory)
                found.finish(RunState.INTERRUPTED, "its process ended before it did")

    def _load(self, name: str) -> Run | Unreadable:
        path = self.directory / name
        try:
            run = _parse(path, json.loads((path / _RECORD).read_text(encoding="utf-8")))
            # Whoever reads it may show it, and write it down again: one that cannot be shown was not read.
            run.as_text()
        except OSError as error:
            return Unreadable(path, f"{_RECORD}: {error.strerror}")
        except (ValueError, LookupError, TypeError, AttributeError, ArithmeticError, RecursionError) as error:
            return Unreadable(path, f"{_RECORD} is no record: {type(error).__name__}: {error}"[:200])
        return run

    def _forget(self) -> None:
        old = self.names()[:-KEEP]
        # The next deploy begins from these two, however many trial runs there were since.
        last = {found.id for kind in RunKind if old and (found := self.standing(kind))}
        for name in old:
            if name not in last:
                files.remove(self.directory / name)


def _parse(directory: Path, given: Mapping[str, Any]) -> Run:
    started, finished = given["_at"]
    return Run(
        directory,
        RunKind(given["kind"]),
        given["revision"],
        given["by"],
        given["subject"],
        RunState(given["state"]),
        started,
        finished,
        given["error"],
        dict(given["durations"]),
        tuple(ImageRecord(**{**item, "state": ImageState(item["state"])}) for item in given.get("images") or ()),
        int(given.get("attempts") or 1),
        bool(given.get("waits")),
        bool(given.get("dry_run")),
        dict(given.get("hosts") or {}),
        given.get("rollout"),
        given.get("backup"),
        tuple(given.get("notes") or ()),
    )


@contextmanager
def _recording(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise PipelineError(
            f"the record of the run cannot be written: {error.strerror}",
            file=path,
            hint="Make room there, or correct its rights; what was pushed is taken up again by itself.",
        ) from error


def stamp(moment: datetime) -> str:
    """How names of directories begin that sort by time; ``moment`` is in UTC."""
    return f"{moment.strftime('%Y%m%dT%H%M%S.%f')[:-3]}Z"


def _iso(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
