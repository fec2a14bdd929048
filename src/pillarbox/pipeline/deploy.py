"""From a revision whose images exist to a cluster that runs it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pillarbox import manifests
from pillarbox.images import image_specs
from pillarbox.images import plan as image_plan
from pillarbox.manifests import Manifest
from pillarbox.model import Inventory
from pillarbox.pipeline.errors import PipelineError
from pillarbox.pipeline.lock import held
from pillarbox.pipeline.places import Places
from pillarbox.pipeline.record import FAILED, INTERRUPTED, SUCCEEDED, Run, Runs
from pillarbox.rollout import Cluster, GoodStore, State, Unreachable, memory, roll_out, status
from pillarbox.rollout.roll import Outcome
from pillarbox.secrets import DEFAULT_HOME, Keyring
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
    with held(places.lock, lambda: progress.step("waiting for the run that is going on")):
        runs = Runs(places.runs)
        runs.close_stale()
        run = runs.start("deploy", revision or "worktree", by, subject)
        run.data |= {"dry_run": dry_run, "hosts": dict(hosts or {})}
        try:
            _deploy(run, Path(model), kubeconfig, Path(gpg_home), places, progress, dry_run, data_too)
        except PillarboxError as error:
            run.durations = dict(progress.durations)
            run.finish(FAILED, str(error))
        except BaseException as error:
            run.durations = dict(progress.durations)
            stopped = isinstance(error, KeyboardInterrupt | SystemExit)
            text = "interrupted; deploy again to carry on" if stopped else f"{type(error).__name__}: {error}"
            run.finish(INTERRUPTED if stopped else FAILED, text)
            raise
    return run


def deployments(model: str | Path, *, pinned: bool = True) -> tuple[tuple[str, Path | None, tuple[Manifest, ...]], ...]:
    """What a model deploys: name, kubeconfig that the model names, and manifests; images pinned if asked.

    Raises what is wrong with the model, and :class:`PipelineError` for images that do not exist.
    """
    inventory = Inventory(model)
    digests = _digests(inventory) if pinned else {}
    rendered = manifests.render(inventory, image_specs(inventory), digests)
    found = []
    for name in sorted({item.deployment for item in rendered}):
        mine = tuple(item for item in rendered if item.deployment == name)
        configs = {_kubeconfig(inventory, node) for node in {item.node for item in mine}} - {None}
        if len(configs) > 1:
            raise PipelineError(f"deployment {name} has several kubeconfigs: {', '.join(sorted(map(str, configs)))}")
        found.append((name, next(iter(configs), None), mine))
    return tuple(found)


def refuse_return(
    wanted: tuple[tuple[str, Path | None, tuple[Manifest, ...]], ...], kubeconfig: str | Path | None = None
) -> None:
    """Raise when a cluster's schemas forbid these deployments; a cluster out of reach forbids nothing yet."""
    for _, named, objects in wanted:
        try:
            with Cluster(_choose(kubeconfig, named), patience=5) as cluster:
                memory.refuse_return(cluster, objects)
        except Unreachable:
            continue


def state(
    model: str | Path, *, kubeconfig: str | Path | None = None, gpg_home: str | Path = DEFAULT_HOME
) -> tuple[State, ...]:
    """The state of everything that the model in directory ``model`` deploys. Writes nothing."""
    found: list[State] = []
    for name, named, wanted in deployments(model):
        with Cluster(_choose(kubeconfig, named), patience=10) as cluster:
            found += status(cluster, wanted, deployment=name, keyring=Keyring(gpg_home))
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
        wanted = deployments(model)
    if not wanted:
        raise PipelineError(
            "the model deploys nothing", hint="A node with the pillar kubernetes:control says what runs in a cluster."
        )
    results: list[dict[str, Any]] = []

    def cut_off(outcome: Outcome) -> None:
        run.data["rollout"] = _joined([*results, outcome.as_dict()])

    for name, named, objects in wanted:
        with Cluster(_choose(kubeconfig, named)) as cluster:
            outcome = roll_out(
                cluster,
                objects,
                deployment=name,
                keyring=Keyring(gpg_home),
                store=GoodStore(places.good / name),
                progress=progress,
                dry_run=dry_run,
                data_too=data_too,
                cut_off=cut_off,
            )
        results.append(outcome.as_dict())
        run.data["rollout"] = _joined(results)
        if not outcome.succeeded:
            raise PipelineError(outcome.error)
    run.durations = dict(progress.durations)
    run.finish(SUCCEEDED)


def _digests(inventory: Inventory) -> dict[str, str]:
    plan = image_plan.plan(image_specs(inventory))
    if plan.missing:
        raise PipelineError(
            f"the registry lacks {len(plan.missing)} images of this revision: {', '.join(plan.missing)}",
            hint="Build them first: push the revision, or salt-run pillarbox.build again=True.",
        )
    return dict(plan.digests)


def _kubeconfig(inventory: Inventory, node: str) -> Path | None:
    kubernetes = inventory.node(node).parameters.get("kubernetes") or {}
    # A node that deploys is usually an administrator's host as well, and has its kubeconfig by the formula.
    path = (kubernetes.get("control") or {}).get("kubeconfig") or (kubernetes.get("client") or {}).get("kubeconfig")
    return Path(str(path)) if path else None


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
