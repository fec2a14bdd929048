"""What deploys have left on hosts, as far as it is known: one that failed or was cut off, too."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress

from pillarbox.model import Node
from pillarbox.pipeline import plan
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


def at(places: Places, runs: Sequence[Run]) -> Iterator[tuple[str, dict[str, Node]]]:
    """By revision what hosts may be: those that a deploy has made so, or may have begun to."""
    for run in runs:
        known = plan.known(places.repository, run.revision)
        found = {host: node for host, node in known.items() if _reached(host, run) and run in left(host, runs)}
        if found:
            yield run.revision, found


def note(places: Places, revision: str = "", hosts: Iterable[str] = ()) -> None:
    """Write down what hosts may be, for the hooks of the repository, which may not read records; ``hosts`` are those
    that are to become what ``revision`` says. Where there is no room for it, a deploy refuses what a push did not."""
    lines = [*([(revision, hosts)] if revision else []), *at(places, since(places))]
    with suppress(OSError):
        files.write(places.deployed, "".join(f"{name} {' '.join(names)}\n" for name, names in lines))


def noted(places: Places) -> dict[str, set[str]]:
    """What is in that note, hosts by revision; nothing where nothing was deployed."""
    found: dict[str, set[str]] = {}
    with suppress(FileNotFoundError):
        for line in places.deployed.read_text(encoding="utf-8").splitlines():
            name, *hosts = line.split()
            found.setdefault(name, set()).update(hosts)
    return found


def _reached(host: str, run: Run) -> bool:
    return run.succeeded or not run.hosts.get(host, HostState.NOT_REACHED).startswith(HostState.NOT_REACHED)
