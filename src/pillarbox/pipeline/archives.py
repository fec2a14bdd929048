"""Backups on the master's disk: a directory each, with an archive for everything that was backed up."""

from __future__ import annotations

import gzip
import hashlib
import json
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import Any, Protocol

from pillarbox.pipeline.errors import PipelineError
from pillarbox.pipeline.record import stamp
from pillarbox.system import files
from pillarbox.system.errors import PillarboxError
from pillarbox.system.progress import Progress

log = logging.getLogger(__name__)

#: As many backups are kept of each reason; the oldest go first.
KEEP = 14
#: How old the newest archive may be.
OLD = timedelta(hours=26)

_RECORD = "backup.json"
_CHUNK = 1 << 20
#: Dumps are large and shrink to a fifth at the lowest level; higher ones take several times as long for a tenth more.
_LEVEL = 1


class DataSource(Protocol):
    """Something whose data can be backed up."""

    @property
    def name(self) -> str:
        """What its archives are called."""

    def known(self) -> Mapping[str, Any]:
        """What has to be known to bring it back, as plain data. Raises :class:`PillarboxError`."""

    def read(self) -> Iterator[bytes]:
        """All of its data. Raises :class:`PillarboxError` when it cannot be had to its end."""


class Reason(StrEnum):
    """Why a backup was made."""

    ASKED = "asked"
    EXPAND = "before-expand"
    RESTORE = "before-restore"


@dataclass(frozen=True)
class Dump:
    """One archive: bytes of the data, bytes on the disk, the digest of the file, and what its source knew then."""

    size: int
    packed: int
    sha256: str
    known: Mapping[str, Any]


@dataclass(frozen=True)
class Backup:
    """One backup of what a deployment holds; ``failed`` says why something is not in it."""

    directory: Path
    made: datetime
    reason: Reason
    revision: str
    archives: Mapping[str, Dump]
    failed: Mapping[str, str]

    @property
    def id(self) -> str:
        """The backup's name: sorts by time."""
        return self.directory.name

    @property
    def failures(self) -> str:
        """What is not in it, and why, in words."""
        return "; ".join(f"{name}: {why}" for name, why in sorted(self.failed.items()))

    def file(self, name: str) -> Path:
        """Where the archive ``name`` is."""
        return self.directory / f"{name}.gz"

    def as_dict(self) -> dict[str, Any]:
        """The backup as plain data."""
        return {
            "id": self.id,
            "made": self.made.isoformat(timespec="milliseconds"),
            "reason": self.reason,
            "revision": self.revision,
            "archives": {name: asdict(archive) for name, archive in self.archives.items()},
            "failed": dict(self.failed),
        }

    def verify(self, name: str) -> None:
        """Raise :class:`PipelineError` unless the archive is as it was written."""
        try:
            with self.file(name).open("rb") as stream:
                found = hashlib.file_digest(stream, "sha256").hexdigest()
        except OSError as error:
            raise PipelineError(f"the archive cannot be read: {error.strerror}", file=self.file(name)) from error
        if found != self.archives[name].sha256:
            raise PipelineError(
                f"the archive is damaged: its sha256 is {found}, and was {self.archives[name].sha256}",
                file=self.file(name),
                hint="Take another one: pillarbox backups",
            )

    def content(self, name: str) -> Iterator[bytes]:
        """The data in the archive."""
        with gzip.open(self.file(name)) as stream:
            while chunk := stream.read(_CHUNK):
                yield chunk


class Backups:
    """All backups under ``directory``, oldest first. To be changed by the holder of the pipeline's lock only."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def __iter__(self) -> Iterator[Backup]:
        for record in sorted(self.directory.glob(f"[!.]*/{_RECORD}")):
            try:
                yield _parse(record.parent, json.loads(record.read_text(encoding="utf-8")))
            except (OSError, ValueError, LookupError, TypeError) as error:
                log.warning("%s: the record of this backup cannot be read and is passed over: %s", record, error)

    def find(self, name: str, wanted: str | None = None) -> Backup:
        """The backup ``wanted`` (by default the newest) that has an archive ``name``. Raises :class:`PipelineError`."""
        every = list(self)
        found = newest(each for each in every if wanted in (None, each.id))
        if name not in found:
            known = sorted(newest(every))
            raise PipelineError(
                f"no backup {wanted or ''} of {name} in {self.directory}".replace("  ", " "),
                hint=f"There are backups of: {', '.join(known)}." if known else "There is no backup yet.",
            )
        return found[name]

    def make(
        self,
        sources: Sequence[DataSource],
        reason: Reason,
        *,
        revision: str,
        progress: Progress,
    ) -> Backup:
        """Back up each of ``sources``; what fails is in the result, beside what was made.

        Raises :class:`PipelineError` when nothing could be backed up, or written down.
        """
        files.sweep(self.directory)
        made = datetime.now(UTC)
        made = made.replace(microsecond=made.microsecond // 1000 * 1000)
        directory = self.directory / f"{stamp(made)}-{reason}"
        archives, failed = dict[str, Dump](), dict[str, str]()
        try:
            with files.making(directory, mode=0o700) as scratch:
                for source in sources:
                    try:
                        with progress.phase(f"backing up {source.name}"):
                            known = source.known()
                            archives[source.name] = _pack(scratch / f"{source.name}.gz", source.read(), known)
                    except PillarboxError as error:
                        (scratch / f"{source.name}.gz").unlink(missing_ok=True)
                        failed[source.name] = str(error)
                        progress.step(f"{source.name} is not backed up: {error}")
                backup = Backup(directory, made, reason, revision, archives, failed)
                if not archives:
                    raise PipelineError(backup.failures)
                files.write_json(scratch / _RECORD, backup.as_dict(), mode=0o600, indent=1)
        except OSError as error:
            raise PipelineError(f"the backup cannot be written: {error.strerror}", file=self.directory) from error
        total = sum(archive.packed for archive in archives.values())
        progress.step(f"backup {backup.id}: {', '.join(archives)} ({total / 1e6:.2f} MB)")
        self._forget(backup.reason)
        return backup

    def _forget(self, reason: Reason) -> None:
        every = list(self)
        # Whatever was backed up keeps its newest archive, also where later backups failed.
        needed = {backup.id for backup in newest(every).values()}
        mine = [backup for backup in every if backup.reason is reason]
        for backup in mine[:-KEEP]:
            if backup.id not in needed:
                files.remove(backup.directory)


def newest(backups: Iterable[Backup]) -> dict[str, Backup]:
    """Of everything that was backed up, by name, the last of ``backups`` that has it."""
    return {name: backup for backup in backups for name in backup.archives}


def _pack(file: Path, content: Iterable[bytes], known: Mapping[str, Any]) -> Dump:
    size = 0
    with file.open("xb") as stream:
        file.chmod(0o600)
        with gzip.GzipFile("", "wb", _LEVEL, stream) as packing:
            for chunk in content:
                packing.write(chunk)
                size += len(chunk)
    if not size:
        raise PipelineError("its command wrote nothing")
    with file.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    return Dump(size, file.stat().st_size, digest, known)


def _parse(directory: Path, given: Mapping[str, Any]) -> Backup:
    archives = {name: Dump(**known) for name, known in given["archives"].items()}
    made = datetime.fromisoformat(given["made"])
    return Backup(directory, made, Reason(given["reason"]), given["revision"], archives, dict(given["failed"]))
