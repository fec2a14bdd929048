"""Giving the master a revision to read: all of it or none of it."""

from __future__ import annotations

import logging
import os
from pathlib import Path

from pillarbox.pipeline.errors import PipelineError
from pillarbox.pipeline.git import Repository
from pillarbox.pipeline.places import Places
from pillarbox.revision import Revision
from pillarbox.system import files, git
from pillarbox.system.errors import Unavailable

log = logging.getLogger(__name__)

#: Revisions that stay on disk, the current one included.
KEEP = 5


def current(places: Places) -> str | None:
    """The revision that the master serves, if it serves any yet."""
    target = places.current.resolve()
    return target.name if places.current.is_symlink() and target.is_dir() and git.is_name(target.name) else None


def publish(places: Places, revision: str) -> Path:
    """Make ``revision`` (a full commit name) what the master reads; returns its directory.

    The link changes in one step. Whoever resolved it before goes on reading the revision it got: old directories stay
    for a while.
    """
    target = prepare(places, revision)
    if (before := current(places)) is not None:
        os.utime(places.published / before)
    files.link(places.current, target.name)
    return target


def prepare(places: Places, revision: str) -> Path:
    """The directory with the whole tree of ``revision``; the link is left as it is. For the holder of the lock.

    One that is there already is compared with git's objects, file by file, and made again where it differs.

    Of those that nobody serves, the ones that were asked for last stay.
    """
    if not git.is_name(revision):
        raise PipelineError(f"not a full commit name: {revision!r}")
    target = places.published / revision
    repository = Repository(places.repository)
    try:
        wrong = repository.difference(revision, target) if target.is_dir() else None
        if wrong is not None:
            log.warning("%s is not what was pushed, and is written again: %s", target, wrong)
            files.remove(target)
        if not target.is_dir():
            with files.making(target) as tree:
                repository.extract(revision, tree)
    except OSError as error:
        # No fault of the revision's: it is taken up again.
        raise Unavailable(
            f"revision {revision[:12]} cannot be written to {places.published}: {error.strerror}",
            hint="Make room there, or correct its rights.",
        ) from error
    os.utime(target)
    _forget(places)
    return target


def read(repository: Path, revision: str) -> Revision:
    """``revision`` (a full commit name), rendered. Raises what is wrong with it; nothing of it is trusted."""
    Repository(repository).entries(revision)
    return Revision.read(repository, revision=revision)


def _forget(places: Places) -> None:
    files.sweep(places.published)
    kept = current(places)
    known = sorted(
        (path for path in places.published.iterdir() if git.is_name(path.name) and path.name != kept),
        key=lambda path: path.stat().st_mtime,
    )
    for path in known[: max(0, len(known) - (KEEP - 1))]:
        files.remove(path)
