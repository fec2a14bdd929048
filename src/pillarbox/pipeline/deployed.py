"""What deploys have left on hosts, as far as it is known: one that failed or was cut off, too."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress

from pillarbox.pipeline.git import Repository
from pillarbox.pipeline.hosts import HostState
from pillarbox.pipeline.places import Places
from pillarbox.pipeline.record import Run, RunKind, Runs
from pillarbox.system import files


def since(places: Places) -> tuple[Run, ...]:
    """The deploys back to the last one that succeeded, newest first, of revisions that the repository still has."""
    repository, found = Repository(places.repository), []
    for run in reversed(Runs(places.runs)):
        if run.kind is RunKind.DEPLOY and not run.dry_run:
            if repository.head(run.revision):
                found.append(run)
            if run.succeeded:
                break
    return tuple(found)


def left(host: str, runs: Iterable[Run]) -> Iterator[Run | None]:
    """Those of the ``runs``, as :func:`since` gives them, that the host may be as they left it, also by somebody who
    applied its states while the master served their revision; nothing stands for a host that none of them found well.
    """
    for run in runs:
        yield run
        if run.succeeded or run.hosts.get(host) == HostState.APPLIED:
            return
    yield None


def reached(host: str, run: Run) -> bool:
    """Whether a deploy has made the host what it is, or may have begun to."""
    return run.succeeded or not run.hosts.get(host, HostState.NOT_REACHED).startswith(HostState.NOT_REACHED)


def note(places: Places, *more: str) -> None:
    """Write down, for the hooks of the repository, which may not read records, what revisions hosts may be at:
    ``more``, and those on record. Where there is no room for it, a deploy refuses what a push did not."""
    runs = since(places)
    found = [run.revision for run in runs if any(reached(host, run) for host in run.hosts) or run.succeeded]
    with suppress(OSError):
        files.write(places.deployed, "".join(f"{name}\n" for name in dict.fromkeys([*more, *found])))


def noted(places: Places) -> tuple[str, ...]:
    """What is in that note; nothing where nothing was deployed."""
    try:
        return tuple(places.deployed.read_text(encoding="utf-8").split())
    except FileNotFoundError:
        return ()
