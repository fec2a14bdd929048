"""From a revision whose images exist to a cluster that runs it."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pillarbox.images import stock
from pillarbox.pipeline.errors import PipelineError
from pillarbox.pipeline.places import Places
from pillarbox.pipeline.record import Run, RunKind, Runs, RunState
from pillarbox.revision import Deployment, Revision
from pillarbox.rollout import Cluster, GoodStore, ObjectStatus, Unreachable, memory, roll_out, status
from pillarbox.rollout.roll import RolloutOutcome
from pillarbox.secrets import DEFAULT_HOME, Keyring
from pillarbox.system import locks
from pillarbox.system.errors import PillarboxError
from pillarbox.system.progress import SILENT, Progress


def deploy(
    model: str | Path,
    *,
    revision: str = "",
    by: str = "",
    subject: str = "",
    kubeconfig: str | Path | None = None,
    gpg_home: str | Path = DEFAULT_HOME,
    places: Places | None = None,
    progress: Progress = SILENT,
    dry_run: bool = False,
    data_too: bool = False,
    hosts: Mapping[str, str] | None = None,
) -> Run:
    """Roll the model in directory ``model`` out, and return the run's report; it is finished and written down.

    ``revision`` is what the model is of; ``hosts`` what became of the hosts before, for the report. A failure is in
    the report (``succeeded``, ``error``), never an exception, except for ``KeyboardInterrupt`` and the like.
    """
    places = places or Places.of()
    with locks.held(places.lock, waiting=lambda: progress.step("waiting for the run that is going on")):
        runs = Runs(places.runs)
        runs.close_stale()
        run = runs.start(RunKind.DEPLOY, revision or "worktree", by, subject)
        run.dry_run, run.hosts = dry_run, dict(hosts or {})
        try:
            _deploy(run, Path(model), kubeconfig, Path(gpg_home), places, progress, dry_run, data_too)
        except PillarboxError as error:
            run.durations = dict(progress.durations)
            run.finish(RunState.FAILED, str(error))
        except BaseException as error:
            run.durations = dict(progress.durations)
            stopped = isinstance(error, KeyboardInterrupt | SystemExit)
            text = "interrupted; deploy again to carry on" if stopped else f"{type(error).__name__}: {error}"
            run.finish(RunState.INTERRUPTED if stopped else RunState.FAILED, text)
            raise
    return run


def deployments(revision: Revision) -> tuple[Deployment, ...]:
    """What ``revision`` deploys, its images pinned to what the registry has.

    Raises :class:`PipelineError` for images that do not exist.
    """
    known = stock.take(revision.images)
    if known.missing:
        raise PipelineError(
            f"the registry lacks {len(known.missing)} images of this revision: {', '.join(known.missing)}",
            hint="Build them first: push the revision, or salt-run pillarbox.build again=True.",
        )
    return revision.deployments(known.digests)


def refuse_return(wanted: Iterable[Deployment], kubeconfig: str | Path | None = None) -> None:
    """Raise when a cluster's schemas forbid these deployments; a cluster out of reach forbids nothing yet."""
    for item in wanted:
        try:
            with Cluster(_choose(kubeconfig, item.kubeconfig), patience=5) as cluster:
                memory.refuse_return(cluster, item.manifests)
        except Unreachable:
            continue


def state(
    model: str | Path, *, kubeconfig: str | Path | None = None, gpg_home: str | Path = DEFAULT_HOME
) -> tuple[ObjectStatus, ...]:
    """The state of everything that the model in directory ``model`` deploys. Writes nothing."""
    found: list[ObjectStatus] = []
    for item in deployments(Revision.read(model)):
        with Cluster(_choose(kubeconfig, item.kubeconfig), patience=10) as cluster:
            found += status(cluster, item.manifests, deployment=item.name, keyring=Keyring(gpg_home))
    return tuple(found)


def _deploy(
    run: Run,
    model: Path,
    kubeconfig: str | Path | None,
    gpg_home: Path,
    places: Places,
    progress: Progress,
    dry_run: bool,
    data_too: bool,
) -> None:
    with progress.phase("rendering manifests"):
        wanted = deployments(Revision.read(model))
    if not wanted:
        raise PipelineError(
            "the model deploys nothing", hint="A node with the pillar kubernetes:control says what runs in a cluster."
        )
    results: list[dict[str, Any]] = []

    def cut_off(outcome: RolloutOutcome) -> None:
        run.rollout = _joined([*results, outcome.as_dict()])

    for item in wanted:
        with Cluster(_choose(kubeconfig, item.kubeconfig)) as cluster:
            outcome = roll_out(
                cluster,
                item.manifests,
                deployment=item.name,
                keyring=Keyring(gpg_home),
                store=GoodStore(places.good / item.name),
                progress=progress,
                dry_run=dry_run,
                data_too=data_too,
                cut_off=cut_off,
            )
        results.append(outcome.as_dict())
        run.rollout = _joined(results)
        if not outcome.succeeded:
            raise PipelineError(outcome.error)
    run.durations = dict(progress.durations)
    run.finish(RunState.SUCCEEDED)


def _choose(given: str | Path | None, named: Path | None) -> Path:
    if given:
        return Path(given)
    if named:
        return named
    return Path(os.environ.get("KUBECONFIG", "").partition(os.pathsep)[0] or "~/.kube/config")


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
