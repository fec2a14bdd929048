"""From a revision whose images exist to hosts and clusters that run it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pillarbox.pipeline import publish
from pillarbox.pipeline.errors import PipelineError
from pillarbox.pipeline.git import Repository
from pillarbox.pipeline.hosts import ApplyStates, HostState
from pillarbox.pipeline.places import Places
from pillarbox.pipeline.prepare import Preparation, choose, deployments, newer, prepare, resolve
from pillarbox.pipeline.record import Run, RunKind, Runs, RunState
from pillarbox.revision import Deployment, Revision
from pillarbox.rollout import Cluster, GoodStore, ObjectStatus, roll_out, status
from pillarbox.rollout.roll import RolloutOutcome
from pillarbox.secrets import DEFAULT_HOME, Keyring
from pillarbox.system import locks
from pillarbox.system.errors import PillarboxError
from pillarbox.system.progress import SILENT, Progress


@dataclass(frozen=True)
class DeployOptions:
    """How to deploy. ``kubeconfig`` is that of another cluster than the model's, ``gpg_home`` has the key that opens
    secrets; a ``dry_run`` writes nothing; ``data_too`` prunes volume claims and Secrets as well."""

    kubeconfig: str | Path | None = None
    gpg_home: str | Path = DEFAULT_HOME
    dry_run: bool = False
    data_too: bool = False


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
        _alone(places, progress),
        _recorded(places, revision or "worktree", by, subject, progress, dry_run=options.dry_run) as run,
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
    with _alone(places, progress):
        unknown: PillarboxError | None = None
        try:
            # Under the lock: another build may succeed while another run is waited for.
            name = resolve(places, revision)
        except PillarboxError as error:
            name, unknown = "unknown", error
        subject = "" if unknown else Repository(places.repository).subject(name)
        if not unknown and not revision and (behind := newer(places, name)):
            progress.step(f"note: {behind}; this deploys {name[:12]}")
        with _recorded(places, name, by, subject, progress, dry_run=options.dry_run) as run:
            if unknown:
                raise unknown
            with progress.phase(f"preparing revision {name[:12]}"):
                if states:
                    prepared = prepare(places, name, dry_run=options.dry_run, progress=progress)
                else:
                    head = Revision.read(publish.prepare(places, name), name)
                    prepared = Preparation((), (), deployments(head, places, progress))
            well = not states or _apply(run, states, prepared, options, progress)
            if well or options.dry_run:
                _roll(run, prepared.deployments, options, places, progress, (places.root,))
            if not well:
                raise PipelineError("the states of a host failed; nothing was applied to the cluster")
    return run


@contextmanager
def _alone(places: Places, progress: Progress) -> Iterator[None]:
    """Hold the pipeline's lock, from the first look at what is published to the end of the deploy."""
    with locks.held(places.lock, waiting=lambda: progress.step("waiting for the run that is going on")):
        Runs(places.runs).close_stale()
        yield


@contextmanager
def _recorded(
    places: Places, revision: str, by: str, subject: str, progress: Progress, *, dry_run: bool
) -> Iterator[Run]:
    """The record of a deploy that the block makes; how the block ends is how the run does."""
    run = Runs(places.runs).start(RunKind.DEPLOY, revision, by, subject)
    run.dry_run = dry_run
    try:
        yield run
    except PillarboxError as error:
        state, text = RunState.FAILED, str(error)
    except BaseException as error:
        stopped = isinstance(error, KeyboardInterrupt | SystemExit)
        text = "interrupted; deploy again to carry on" if stopped else f"{type(error).__name__}: {error}"
        run.durations = dict(progress.durations)
        run.finish(RunState.INTERRUPTED if stopped else RunState.FAILED, text)
        raise
    else:
        state, text = RunState.SUCCEEDED, ""
    run.durations = dict(progress.durations)
    run.finish(state, text)


def _apply(run: Run, states: ApplyStates, prepared: Preparation, options: DeployOptions, progress: Progress) -> bool:
    """Forget the hosts that are gone, and apply the states of those that change; whether all is well with them."""
    if prepared.removed:
        for name in prepared.removed:
            progress.step(f"host {name} is no longer in the model")
        if not options.dry_run:
            states.forget(prepared.removed)
        run.hosts |= dict.fromkeys(
            prepared.removed, str(HostState.WOULD_BE_REMOVED if options.dry_run else HostState.REMOVED)
        )
    named = (*prepared.hosts, *prepared.masters)
    if not named:
        return True
    with progress.phase(f"applying the states of {len(named)} hosts"):
        outcomes = states(prepared.hosts, prepared.masters, dry_run=options.dry_run, progress=progress)
    run.hosts |= {name: str(outcome) for name, outcome in outcomes.items()}
    return all(outcome.state in (HostState.APPLIED, HostState.WOULD_CHANGE) for outcome in outcomes.values())


def state(
    model: str | Path,
    *,
    kubeconfig: str | Path | None = None,
    gpg_home: str | Path = DEFAULT_HOME,
    places: Places | None = None,
) -> tuple[ObjectStatus, ...]:
    """The state of everything that the model in directory ``model`` deploys. Writes nothing."""
    found: list[ObjectStatus] = []
    places = places or Places.of()
    for item in deployments(Revision.read(model), places):
        with Cluster(choose(kubeconfig, item.kubeconfig, places.root, Path(model)), patience=10) as cluster:
            found += status(cluster, item.manifests, deployment=item.name, keyring=Keyring(gpg_home))
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
        with Cluster(choose(options.kubeconfig, item.kubeconfig, *pushed)) as cluster:
            outcome = roll_out(
                cluster,
                item.manifests,
                deployment=item.name,
                keyring=Keyring(options.gpg_home),
                store=GoodStore(places.good / item.name),
                progress=progress,
                dry_run=options.dry_run,
                data_too=options.data_too,
                cut_off=cut_off,
            )
        results.append(outcome.as_dict())
        run.rollout = _joined(results)
        if not outcome.succeeded:
            raise PipelineError(outcome.error)


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
