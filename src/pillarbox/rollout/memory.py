"""What the cluster itself remembers for us: which releases' schemas cannot be gone back from."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from pillarbox.manifests.releases import CONTRACT, marked, order
from pillarbox.rollout.cluster import Cluster
from pillarbox.rollout.errors import Refused
from pillarbox.rollout.objects import MANAGED_BY, ObjectRef, ref

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
    data = {name: value for (_, name), value in sorted(known.items())}
    if data != _noted(cluster, namespace):
        metadata = {"name": NAME, "namespace": namespace, "labels": {MANAGED_BY: "pillarbox"}}
        cluster.apply({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data})
    return known


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
                hint=f"Nothing was changed. Deploy release {floor} or newer, or restore the database's backup of "
                f"{mark.release}, delete the contract Jobs of {mark.service} and remove it from ConfigMap {NAME}.",
            )
    return floors


def _noted(cluster: Cluster, namespace: str) -> dict[str, str]:
    live = cluster.get(ObjectRef("v1", "ConfigMap", namespace, NAME)) or {}
    return dict(live.get("data") or {})


def _raise_to(found: Floors, key: tuple[str, str], release: str) -> None:
    if key not in found or order(found[key]) < order(release):
        found[key] = release
