"""What has to be so before a revision is deployed, found out before any host or cluster is touched."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pillarbox.images import stock
from pillarbox.pipeline import deployed, plan, publish
from pillarbox.pipeline.errors import PipelineError
from pillarbox.pipeline.git import Repository
from pillarbox.pipeline.places import Places
from pillarbox.pipeline.plan import HostChange
from pillarbox.pipeline.record import Run, RunKind, Runs
from pillarbox.pipeline.updates import Drain, Group, HostUpdate, groups
from pillarbox.pipeline.versions import refuse_apart, refuse_skips
from pillarbox.revision import Deployment, Revision
from pillarbox.rollout import Cluster, Kubeconfig, Unreachable, memory
from pillarbox.system.progress import SILENT, Progress
from pillarbox.system.waiting import Patience

#: Seconds that a registry may be away before a deploy gives up.
PATIENCE = 30.0


@dataclass(frozen=True)
class Preparation:
    """What a deploy does: to which hosts, group by group, and to which clusters; ``removed`` are the hosts that were
    deployed last and are no longer in the model, ``nodes`` what the model's hosts are that pods can be moved from."""

    groups: tuple[Group, ...]
    deployments: tuple[Deployment, ...]
    removed: tuple[str, ...] = ()
    nodes: Mapping[str, Drain] = field(default_factory=dict)

    @property
    def hosts(self) -> tuple[str, ...]:
        """Every host that changes, in the order in which they do."""
        return tuple(dict.fromkeys(host for group in self.groups for host in group.hosts))


def resolve(places: Places, revision: str | None) -> str:
    """The full name of ``revision``, by default of the newest whose build succeeded. Raises :class:`PipelineError`."""
    if revision:
        return Repository(places.repository).resolve(revision)
    built = Runs(places.runs).standing(RunKind.BUILD)
    if built is None:
        raise PipelineError("nothing is built yet", hint="Push the model, and wait for its build.")
    return built.revision


def newer(places: Places, name: str) -> str:
    """What is pushed and is not ``name``, and why it is not built, in words; nothing where ``name`` is the newest."""
    head = Repository(places.repository).head(places.ref)
    if head is None or head == name:
        return ""
    last = Runs(places.runs).last(RunKind.BUILD, head)
    return f"{head[:12]} was pushed after {name[:12]} and is not built: {last.state if last else 'no build has begun'}"


def last_deployed(places: Places) -> str | None:
    """The revision that was deployed last, if the repository still has it."""
    run = Runs(places.runs).standing(RunKind.DEPLOY)
    return run.revision if run and Repository(places.repository).head(run.revision) else None


def prepare(places: Places, name: str, *, dry_run: bool, progress: Progress) -> Preparation:
    """Make the revision ``name`` what the master serves, and say what a deploy of it does. For the holder of the lock.

    Raises what is wrong with the revision, :class:`PipelineError` when an image is missing, and what a cluster's
    schemas forbid; the master serves what it did, then. A dry run leaves it so in any case.
    """
    head = Revision.read(publish.prepare(places, name), name)
    refuse_apart(head)
    wanted = deployments(head, places, progress)
    refuse_return(wanted, places)
    runs = deployed.since(places)
    for _, hosts in deployed.at(places, runs):
        refuse_skips(hosts, head)
    changed = tuple(_changed(places, head, runs))
    changes = [host for host in changed if host.name in head.hosts]
    for host in changes:
        progress.step(f"host {host.name} changes: {', '.join(host.why[:6])}")
    if name != publish.current(places):
        if not dry_run:
            publish.publish(places, name)
        elif changes:
            # The hosts' pillar is that of the revision that is served: a trial would report another change.
            progress.step("their states are not tried: the master serves another revision until this one is deployed")
            changes = []
    removed = tuple(host.name for host in changed if host.name not in head.hosts)
    nodes = {name: drain for name, host in head.hosts.items() if (drain := HostUpdate.of(host).drain)}
    return Preparation(groups({host.name: host.why for host in changes}, head.hosts), wanted, removed, nodes)


def _changed(places: Places, head: Revision, runs: Sequence[Run]) -> Iterator[HostChange]:
    """The hosts that are not as ``head`` says, or may not be: they differ from what one of the ``runs`` may have
    left."""
    plans = {
        base: {host.name: host.why for host in plan.make(places.repository, base, head, registry=False).hosts}
        for base in dict.fromkeys([*(run.revision for run in runs), None])
    }
    for name in sorted({name for changes in plans.values() for name in changes}):
        left = [run.revision if run else None for run in deployed.left(name, runs)]
        if why := dict.fromkeys(path for base in left for path in plans[base].get(name, ())):
            yield HostChange(name, tuple(why))


def deployments(revision: Revision, places: Places, progress: Progress = SILENT) -> tuple[Deployment, ...]:
    """What ``revision`` deploys, its images pinned to the digests that builds recorded here.

    An image that none recorded, for it was built elsewhere, is pinned to what the tag of its content key stands for
    now, and ``progress`` gets a line about it. Raises :class:`PipelineError` for images that do not exist, and
    :class:`~pillarbox.images.errors.RegistryError` for a registry that does not answer in time.
    """
    known = stock.take(revision.images, Runs(places.runs).digests(), patience=Patience(PATIENCE, progress.step))
    if known.by_tag:
        progress.step(f"no build is on record here, so the registry's tag is believed: {', '.join(known.by_tag)}")
    if known.missing:
        raise PipelineError(
            f"the registry lacks {len(known.missing)} images of this revision: {', '.join(known.missing)}",
            hint="Build them first: push the revision, or salt-run pillarbox.build again=True.",
        )
    return revision.deployments(known.digests)


def refuse_return(wanted: Iterable[Deployment], places: Places) -> None:
    """Raise when a cluster's schemas forbid these deployments; a cluster out of reach forbids nothing yet."""
    for item in wanted:
        try:
            with Cluster(choose(None, item.kubeconfig, (places.root,)), patience=5) as cluster:
                memory.refuse_return(cluster, item.manifests)
        except Unreachable:
            continue


def choose(given: str | Path | None, named: Path | None, pushed: Sequence[Path] = ()) -> Kubeconfig:
    """The kubeconfig to use: the one that was asked for, else the model's, else what ``kubectl`` would take.

    ``pushed`` are the directories that pushes write to: the model's does not come from there.
    """
    if not given and named:
        return Kubeconfig(named, tuple(pushed))
    own = given or os.environ.get("KUBECONFIG", "").partition(os.pathsep)[0] or "~/.kube/config"
    return Kubeconfig(Path(own))
