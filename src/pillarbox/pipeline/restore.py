"""Bringing back what a backup holds."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Protocol

from pillarbox.pipeline import publish
from pillarbox.pipeline.alone import alone
from pillarbox.pipeline.archives import Backup, Backups, Reason
from pillarbox.pipeline.backup import Holder, chosen, holders
from pillarbox.pipeline.errors import PipelineError
from pillarbox.pipeline.hosts import HostOutcome, HostState
from pillarbox.pipeline.places import Places
from pillarbox.pipeline.record import Run, RunKind
from pillarbox.pipeline.running import recorded
from pillarbox.pipeline.sources import HostSource
from pillarbox.system.errors import PillarboxError
from pillarbox.system.progress import SILENT, Progress

DEPLOY = "salt-run state.orchestrate orch.deploy"


class RestoreHosts(Protocol):
    """Has ``hosts`` bring back ``content``, by their ``states``. Returns what became of each."""

    def __call__(
        self, hosts: Sequence[str], states: Sequence[str], content: Iterable[bytes], name: str, *, progress: Progress
    ) -> Mapping[str, HostOutcome]: ...


def restore(
    places: Places,
    name: str,
    wanted: str | None = None,
    *,
    hosts: RestoreHosts | None = None,
    dry_run: bool = False,
    by: str = "",
    kubeconfig: str | Path | None = None,
    progress: Progress = SILENT,
) -> Run:
    """Bring back the data called ``name`` from the backup ``wanted`` (default: the newest that has it).

    What is there now is backed up first, if it still can be. A trial (``dry_run``) says what would be done. A failure
    is in the report, as with a deploy.
    """
    with alone(places, progress):
        served = publish.current(places) or "unknown"
        with (
            recorded(places, RunKind.RESTORE, served, by, name, progress, dry_run=dry_run) as run,
            holders(places, kubeconfig) as found,
        ):
            (source,) = chosen(found, [name])
            kept = Backups(places.backups).find(name, wanted)
            size = kept.archives[name].packed / 1e6
            progress.step(f"{name} goes back to {kept.made:%Y-%m-%d %H:%M:%S} UTC: backup {kept.id}, {size:.2f} MB")
            kept.verify(name)
            run.notes = tuple(_notes(source, kept, served))
            for note in run.notes:
                progress.step(note)
            if not dry_run:
                run.backup = _save(places, source, served, progress)
                _bring_back(run, source, kept, hosts, progress)
    return run


def _bring_back(run: Run, source: Holder, kept: Backup, hosts: RestoreHosts | None, progress: Progress) -> None:
    archive, content = kept.archives[source.name], kept.content(source.name)
    with progress.phase(f"bringing back {source.name}"):
        if not isinstance(source, HostSource) or not source.states:
            printed = source.write(content, archive.size, archive.known)
            for line in printed.splitlines():
                progress.step(line)
            return
        if hosts is None or not source.hosts:
            raise PipelineError(f"{source.name} is brought back by states, and no host to apply them to")
        outcomes = hosts(source.hosts, source.states, content, source.name, progress=progress)
    run.hosts |= {host: str(outcome) for host, outcome in outcomes.items()}
    if any(outcome.state is not HostState.APPLIED for outcome in outcomes.values()):
        raise PipelineError(f"{source.name} is not back on every host")


def _save(places: Places, source: Holder, served: str, progress: Progress) -> Mapping[str, object] | None:
    """A backup of what is there now, so that going back can be gone back from; ``None`` where it cannot be had."""
    try:
        made = Backups(places.backups).make([source], Reason.RESTORE, revision=served, progress=progress)
    except PillarboxError as error:
        progress.step(f"what is there now cannot be backed up, and is replaced: {error.message}")
        return None
    return made.as_dict()


def _notes(source: Holder, kept: Backup, served: str) -> Iterable[str]:
    jobs = source.outdated(kept.archives[source.name].known)
    if jobs:
        yield f"{len(jobs)} Jobs run again with the next deploy: {', '.join(job.name for job in jobs)}"
    if kept.revision != served:
        yield (
            f"the backup is of revision {kept.revision[:12]}, and {served[:12]} is deployed: deploy either, "
            f'{DEPLOY} pillar=\'{{"revision": "{kept.revision[:12]}"}}\' for the one of the backup'
        )
    elif jobs:
        yield f"deploy once more: {DEPLOY}"
