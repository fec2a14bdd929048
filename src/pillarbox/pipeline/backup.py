"""Making backups: of all that the model names, and of what a change of schema may spoil."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from pillarbox.pipeline import publish, sources
from pillarbox.pipeline.alone import alone
from pillarbox.pipeline.archives import OLD, Backup, Backups, Reason, newest
from pillarbox.pipeline.errors import PipelineError
from pillarbox.pipeline.places import Places
from pillarbox.pipeline.prepare import choose
from pillarbox.pipeline.record import Run, RunKind, Runs
from pillarbox.pipeline.running import recorded
from pillarbox.pipeline.sources import HostSource
from pillarbox.revision import Revision
from pillarbox.rollout import Cluster, Data, data_of
from pillarbox.system.progress import SILENT, Progress

Holder = Data | HostSource


def backup(
    places: Places,
    only: Collection[str] = (),
    *,
    by: str = "",
    kubeconfig: str | Path | None = None,
    progress: Progress = SILENT,
) -> Run:
    """Back up everything that the revision names which the master serves, or ``only`` what is called so.

    A failure is in the report, as with a deploy; what could be backed up is kept then.
    """
    with alone(places, progress):
        served = publish.current(places) or "unknown"
        with recorded(places, RunKind.BACKUP, served, by, "", progress) as run:
            with holders(places, kubeconfig) as found:
                wanted = chosen(found, only)
                made = Backups(places.backups).make(wanted, Reason.ASKED, revision=served, progress=progress)
            run.backup = made.as_dict()
            if made.failed:
                raise PipelineError(made.failures)
    return run


def before_expand(places: Places, data: Sequence[Data], revision: str, progress: Progress) -> Backup | None:
    """Back up what of ``data`` the model wants backed up before a schema is expanded; ``None`` where it wants nothing.

    Raises :class:`PipelineError` when anything of it could not be backed up.
    """
    wanted = [each for each in data if each.commands.before_expand]
    if not wanted:
        return None
    made = Backups(places.backups).make(wanted, Reason.EXPAND, revision=revision, progress=progress)
    if made.failed:
        raise PipelineError(
            f"there is no backup to go back to: {made.failures}",
            hint="Nothing was migrated. To go on without a backup: pillar='{\"backup\": false}'.",
        )
    return made


@contextmanager
def holders(places: Places, kubeconfig: str | Path | None = None) -> Iterator[tuple[Holder, ...]]:
    """All that the served revision says how to back up. Raises what is wrong with it."""
    revision = Revision.read(places.current)
    with ExitStack() as stack:
        found: list[Holder] = list(sources.of_masters(revision.hosts))
        # Which images run makes no difference to the commands that are run in them.
        for item in revision.deployments():
            cluster = stack.enter_context(Cluster(choose(kubeconfig, item.kubeconfig, (places.root,)), patience=10))
            found += data_of(cluster, item.name, item.manifests)
        yield tuple(sorted(found, key=lambda each: each.name))


def chosen(found: Sequence[Holder], only: Collection[str]) -> list[Holder]:
    """Those of ``found`` that are called so; all of them where ``only`` names none. Raises :class:`PipelineError`."""
    names = [each.name for each in found]
    if not names:
        raise PipelineError("the model says of nothing how it is backed up", hint="See docs/how-to/backup.md.")
    for name in names:
        if names.count(name) > 1:
            raise PipelineError(f"two things that are backed up are called {name}")
    for name in only:
        if name not in names:
            raise PipelineError(f"the model does not say how to back up {name}", hint=f"Known: {', '.join(names)}.")
    return [each for each in found if not only or each.name in only]


@dataclass(frozen=True)
class Overdue:
    """Something that was not backed up for longer than :data:`OLD`."""

    name: str
    detail: str

    def as_dict(self) -> dict[str, str]:
        """It as plain data, as the state of an object of a cluster."""
        return {"kind": "Backup", "namespace": "", "name": self.name, "state": "overdue", "detail": self.detail}


def overdue(places: Places) -> Iterator[Overdue]:
    """What the served revision says how to back up, and has no archive that is new enough."""
    # Somebody else than root may look at the cluster, too, and not there.
    if not os.path.exists(places.current):
        return
    kept, now = newest(Backups(places.backups)), datetime.now(UTC)
    # In a deployment that was just made there is nothing to miss.
    first = next((run.started for run in Runs(places.runs)), now.timestamp())
    with holders(places) as found:
        names = [each.name for each in found]
    for name in names:
        last = kept.get(name)
        age = now - (last.made if last else datetime.fromtimestamp(first, UTC))
        if age > OLD and last:
            yield Overdue(name, f"its newest backup is {age / timedelta(hours=1):.0f} hours old: {last.id}")
        elif age > OLD:
            yield Overdue(name, "it was never backed up")
