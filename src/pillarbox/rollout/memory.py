"""What the cluster itself remembers for us: which releases' schemas cannot be gone back from."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pillarbox.manifests.releases import CONTRACT, marked, order
from pillarbox.rollout.cluster import Cluster
from pillarbox.rollout.errors import Refused
from pillarbox.rollout.health import job_state
from pillarbox.rollout.objects import DEPLOYMENT, MANAGED_BY, Object, ObjectRef, ref
from pillarbox.rollout.states import JobState

if TYPE_CHECKING:
    from pillarbox.manifests import Manifest

#: The ConfigMap, one a namespace: contracted service -> release.
NAME = "pillarbox-state"

#: ``(namespace, service) -> release``: behind it the service cannot go back.
Floors = dict[tuple[str, str], str]


def contracted(cluster: Cluster, namespaces: Iterable[str]) -> Floors:
    """``(namespace, service) -> release`` for every schema whose contraction has begun.

    Jobs count beside the ConfigMap, whatever became of them: no older release reads what half of a contraction left.
    """
    found: Floors = {}
    for namespace in sorted(set(namespaces)):
        found |= {(namespace, service): release for service, release in _noted(cluster, namespace).items()}
        jobs, _ = cluster.list("batch/v1", "Job", namespace, labels=f"{MANAGED_BY}=pillarbox")
        for job in jobs:
            mark = marked(job)
            if mark and mark.phase == CONTRACT:
                _raise_to(found, (namespace, mark.service), mark.release)
    return found


def remember(cluster: Cluster, namespace: str, service: str, release: str) -> Floors:
    """Note that ``service`` cannot go back behind ``release``, and return what is known of the namespace.

    What is noted already is not written again.
    """
    known = contracted(cluster, [namespace])
    _raise_to(known, (namespace, service), release)
    _note(cluster, namespace, known)
    return known


@dataclass(frozen=True)
class Memory:
    """What a cluster knew of a deployment's data at one time; ``jobs`` are the uids of those that were complete."""

    jobs: frozenset[str]
    floors: Floors

    def as_dict(self) -> dict[str, Any]:
        """The memory as plain data."""
        return {"jobs": sorted(self.jobs), "floors": [[*key, release] for key, release in sorted(self.floors.items())]}

    @classmethod
    def of(cls, data: Mapping[str, Any]) -> Memory:
        """The memory that :meth:`as_dict` wrote."""
        floors = {(namespace, service): release for namespace, service, release in data["floors"]}
        return cls(frozenset(data["jobs"]), floors)


def recall(cluster: Cluster, deployment: str, namespaces: Collection[str]) -> Memory:
    """What the cluster knows of ``deployment`` now."""
    done = {job["metadata"]["uid"] for job in _jobs(cluster, deployment) if job_state(job) is JobState.COMPLETE}
    return Memory(frozenset(done), contracted(cluster, namespaces))


def outdated(cluster: Cluster, deployment: str, known: Memory) -> tuple[ObjectRef, ...]:
    """The Jobs that did, or do, what is not in data from the time of ``known``."""
    return tuple(ref(job) for job in _jobs(cluster, deployment) if job["metadata"]["uid"] not in known.jobs)


def go_back(cluster: Cluster, deployment: str, namespaces: Collection[str], known: Memory) -> None:
    """Have the cluster know what it knew when the data was made that was brought back.

    Later Jobs are deleted, so that the next deploy runs them again, and may be one of an older release.
    """
    for job in outdated(cluster, deployment, known):
        cluster.delete(job)
    for namespace in sorted(namespaces):
        _note(cluster, namespace, {key: release for key, release in known.floors.items() if key[0] == namespace})


def _jobs(cluster: Cluster, deployment: str) -> list[Object]:
    jobs, _ = cluster.list("batch/v1", "Job", labels=f"{MANAGED_BY}=pillarbox,{DEPLOYMENT}={deployment}")
    return jobs


def below(floors: Floors, obj: Mapping[str, Any]) -> str:
    """The release behind which the schema of ``obj`` cannot go, where ``obj`` is of an older one; else nothing."""
    mark = marked(obj)
    if not mark or not mark.release:
        return ""
    floor = floors.get((ref(obj).namespace or "default", mark.service), "")
    return floor if floor and order(mark.release) < order(floor) else ""


def refuse_return(cluster: Cluster, manifests: Iterable[Manifest]) -> Floors:
    """What is known of the services of ``manifests``.

    Raises :class:`Refused` when a manifest is of an older release than its service's schema allows.
    """
    asked = [(manifest, mark) for manifest in manifests if (mark := marked(manifest.object))]
    floors = contracted(cluster, {manifest.namespace or "default" for manifest, _ in asked})
    for manifest, mark in asked:
        floor = below(floors, manifest.object)
        if floor:
            namespace = manifest.namespace or "default"
            raise Refused(
                f"{mark.service} cannot go back from release {floor} to {mark.release}: the contraction of its schema "
                f"in namespace {namespace} to {floor} has begun, and {mark.release} cannot read it",
                file=manifest.filename,
                hint=f"Nothing was changed. Deploy release {floor} or newer, or restore a backup from before: "
                "salt-run state.orchestrate orch.restore.",
            )
    return floors


def _note(cluster: Cluster, namespace: str, floors: Floors) -> None:
    data = {name: value for (_, name), value in sorted(floors.items())}
    if data != _noted(cluster, namespace):
        metadata = {"name": NAME, "namespace": namespace, "labels": {MANAGED_BY: "pillarbox"}}
        cluster.apply({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data})


def _noted(cluster: Cluster, namespace: str) -> dict[str, str]:
    live = cluster.get(ObjectRef("v1", "ConfigMap", namespace, NAME)) or {}
    return dict(live.get("data") or {})


def _raise_to(found: Floors, key: tuple[str, str], release: str) -> None:
    if key not in found or order(found[key]) < order(release):
        found[key] = release
