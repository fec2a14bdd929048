"""From a revision whose images exist to hosts and clusters that run it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from pillarbox import pki
from pillarbox.pipeline import deployed, publish
from pillarbox.pipeline.alone import alone
from pillarbox.pipeline.backup import before_expand
from pillarbox.pipeline.errors import PipelineError
from pillarbox.pipeline.git import Repository
from pillarbox.pipeline.hosts import ApplyStates
from pillarbox.pipeline.places import Places
from pillarbox.pipeline.prepare import Preparation, choose, deployments, last_deployed, newer, prepare, resolve
from pillarbox.pipeline.record import Run, RunKind
from pillarbox.pipeline.running import recorded
from pillarbox.pipeline.stages import Stages
from pillarbox.pipeline.updates import HostUpdate
from pillarbox.revision import Deployment, Revision
from pillarbox.rollout import (
    Cluster,
    GoodStore,
    ObjectStatus,
    data_of,
    node,
    roll_out,
    status,
)
from pillarbox.rollout.roll import RolloutOutcome
from pillarbox.secrets import DEFAULT_HOME, Keyring
from pillarbox.system.errors import PillarboxError
from pillarbox.system.progress import SILENT, Progress


@dataclass(frozen=True)
class DeployOptions:
    """How to deploy. ``kubeconfig`` is that of another cluster than the model's, ``gpg_home`` has the key that opens
    secrets; a ``dry_run`` writes nothing; ``data_too`` prunes volume claims and Secrets as well; without ``backup``
    nothing is backed up before a schema is expanded."""

    kubeconfig: str | Path | None = None
    gpg_home: str | Path = DEFAULT_HOME
    dry_run: bool = False
    data_too: bool = False
    backup: bool = True


def deploy(
    model: str | Path,
    options: DeployOptions,
    *,
    revision: str = "",
    by: str = "",
    subject: str = "",
    places: Places | None = None,
    progress: Progress = SILENT,
) -> Run:
    """Roll the model in directory ``model`` out to its clusters, and return the run's report; it is written down.

    ``revision`` is what the model is of. A failure is in the report (``succeeded``, ``error``), never an exception,
    except for ``KeyboardInterrupt`` and the like, and for a record that cannot be written.
    """
    places = places or Places.of()
    with (
        alone(places, progress),
        recorded(places, RunKind.DEPLOY, revision or "worktree", by, subject, progress, dry_run=options.dry_run) as run,
    ):
        with progress.phase("rendering manifests"):
            wanted = deployments(Revision.read(model), places, progress)
        _roll(run, wanted, options, places, progress, (places.root, Path(model)))
    return run


def deploy_revision(
    places: Places,
    revision: str | None,
    options: DeployOptions,
    *,
    by: str,
    states: ApplyStates | None,
    progress: Progress = SILENT,
) -> Run:
    """Deploy a revision of the master's repository (default: the newest that is built) and return the run's report.

    With ``states`` the master serves it from then on, and the hosts that change get their states before the clusters
    are touched; a host that fails ends the deploy there. Without, hosts and what is served are left alone. Failures are
    in the report, as with :func:`deploy`.
    """
    # From the first look at what is published to the end.
    with alone(places, progress):
        unknown: PillarboxError | None = None
        try:
            # Under the lock: another build may succeed while another run is waited for.
            name = resolve(places, revision)
        except PillarboxError as error:
            name, unknown = "unknown", error
        subject = "" if unknown else Repository(places.repository).subject(name)
        if not unknown and not revision and (behind := newer(places, name)):
            progress.step(f"note: {behind}; this deploys {name[:12]}")
        noting = states and not options.dry_run
        try:
            with recorded(places, RunKind.DEPLOY, name, by, subject, progress, dry_run=options.dry_run) as run:
                if unknown:
                    raise unknown
                with progress.phase(f"preparing revision {name[:12]}"):
                    if states:
                        for certificate in pki.near_end(places.pki):
                            progress.step(str(certificate))
                        prepared = prepare(places, name, dry_run=options.dry_run, progress=progress)
                    else:
                        head = Revision.read(publish.prepare(places, name), name)
                        prepared = Preparation((), deployments(head, places, progress))
                if noting:
                    deployed.note(places, name, prepared.hosts)
                well = True
                if states:
                    kubeconfig = partial(choose, options.kubeconfig, pushed=(places.root,))
                    well = Stages(run, states, options.dry_run, kubeconfig, progress).apply(prepared)
                if well or options.dry_run:
                    _roll(run, prepared.deployments, options, places, progress, (places.root,))
                if not well:
                    raise PipelineError("the states of a host failed; nothing was applied to the cluster")
        finally:
            if noting:
                deployed.note(places)
    return run


def state(
    model: str | Path,
    *,
    kubeconfig: str | Path | None = None,
    gpg_home: str | Path = DEFAULT_HOME,
    places: Places | None = None,
    progress: Progress = SILENT,
) -> tuple[ObjectStatus, ...]:
    """The state of everything that the model in directory ``model`` deploys, and of the nodes that its hosts are.
    Writes nothing."""
    found: list[ObjectStatus] = []
    places = places or Places.of()
    revision = Revision.read(model)

    def cluster(named: Path | None) -> Cluster:
        return Cluster(choose(kubeconfig, named, (places.root, Path(model))), patience=10)

    nodes: dict[Path | None, list[str]] = {}
    for host in revision.hosts.values():
        if drain := HostUpdate.of(host).drain:
            nodes.setdefault(drain.kubeconfig, []).append(drain.node)
    for item in deployments(revision, places, progress):
        with cluster(item.kubeconfig) as connection:
            found += status(connection, item.manifests, deployment=item.name, keyring=Keyring(gpg_home))
    for named, names in nodes.items():
        with cluster(named) as connection:
            found += node.status(connection, names)
    return tuple(found)


def _roll(
    run: Run,
    wanted: Sequence[Deployment],
    options: DeployOptions,
    places: Places,
    progress: Progress,
    pushed: Sequence[Path],
) -> None:
    if not wanted:
        raise PipelineError(
            "the model deploys nothing", hint="A node with the pillar kubernetes:control says what runs in a cluster."
        )
    results: list[dict[str, Any]] = []

    def cut_off(outcome: RolloutOutcome) -> None:
        run.rollout = _joined([*results, outcome.as_dict()])

    for item in wanted:
        with Cluster(choose(options.kubeconfig, item.kubeconfig, pushed)) as cluster:
            outcome = roll_out(
                cluster,
                item.manifests,
                deployment=item.name,
                keyring=Keyring(options.gpg_home),
                store=GoodStore(places.good / item.name),
                progress=progress,
                dry_run=options.dry_run,
                data_too=options.data_too,
                before_expand=partial(_secure, run, places, cluster, item, options, progress),
                cut_off=cut_off,
            )
        results.append(outcome.as_dict())
        run.rollout = _joined(results)
        if not outcome.succeeded:
            raise PipelineError(outcome.error)


def _secure(
    run: Run, places: Places, cluster: Cluster, item: Deployment, options: DeployOptions, progress: Progress
) -> None:
    """Back up what a migration of ``item`` may spoil."""
    if options.backup:
        data = data_of(cluster, item.name, item.manifests)
        made = before_expand(places, data, last_deployed(places) or run.revision, progress)
        run.backup = made.as_dict() if made else None


def _joined(results: list[dict[str, Any]]) -> dict[str, Any]:
    """Several deployments' outcomes as one; nearly always there is only one."""
    joined = dict(results[0])
    for other in results[1:]:
        joined["succeeded"] = joined["succeeded"] and other["succeeded"]
        joined["writes"] += other["writes"]
        joined["steps"] = joined["steps"] + other["steps"]
        joined["kept"] = joined["kept"] + other["kept"]
        if "error" in other:
            joined["error"] = other["error"]
    return joined
