"""What the cluster itself remembers for us: which releases' schemas cannot be gone back from."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from pillarbox.manifests.releases import CONTRACT, marked, order
from pillarbox.rollout.cluster import Cluster
from pillarbox.rollout.errors import Refused
from pillarbox.rollout.health import job_state
from pillarbox.rollout.objects import MANAGED_BY, ObjectRef
from pillarbox.rollout.states import JobState

if TYPE_CHECKING:
    from pillarbox.manifests import Manifest

#: The ConfigMap, one a namespace: contracted service -> release.
NAME = "pillarbox-state"


def contracted(cluster: Cluster, namespaces: Iterable[str]) -> dict[tuple[str, str], str]:
    """``(namespace, service) -> release`` for every schema that has been contracted.

    Completed Jobs count beside the ConfigMap: a run may have been killed between the two.
    """
    found: dict[tuple[str, str], str] = {}
    for namespace in sorted(set(namespaces)):
        live = cluster.get(ObjectRef("v1", "ConfigMap", namespace, NAME))
        for service, release in ((live or {}).get("data") or {}).items():
            found[namespace, service] = release
        jobs, _ = cluster.list("batch/v1", "Job", namespace, labels=f"{MANAGED_BY}=pillarbox")
        for job in jobs:
            mark = marked(job)
            if mark and mark.phase == CONTRACT and job_state(job) is JobState.COMPLETE:
                _raise_to(found, (namespace, mark.service), mark.release)
    return found


def remember(cluster: Cluster, namespace: str, service: str, release: str) -> None:
    """Note that ``service`` cannot go back behind ``release``."""
    known = contracted(cluster, [namespace])
    _raise_to(known, (namespace, service), release)
    cluster.apply(
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": NAME, "namespace": namespace, "labels": {MANAGED_BY: "pillarbox"}},
            "data": {name: value for (_, name), value in sorted(known.items())},
        }
    )


def refuse_return(cluster: Cluster, manifests: Iterable[Manifest]) -> None:
    """Raise :class:`Refused` when a manifest is of an older release than its service's schema allows."""
    asked: dict[tuple[str, str], tuple[str, str]] = {}
    for manifest in manifests:
        mark = marked(manifest.object)
        if mark and mark.release:
            asked[manifest.namespace or "default", mark.service] = (mark.release, manifest.filename)
    floors = contracted(cluster, {namespace for namespace, _ in asked})
    for (namespace, service), (release, filename) in sorted(asked.items()):
        floor = floors.get((namespace, service))
        if floor and order(release) < order(floor):
            raise Refused(
                f"{service} cannot go back from release {floor} to {release}: "
                f"its schema in namespace {namespace} has been contracted to {floor}, and {release} cannot read it",
                file=filename,
                hint=f"Nothing was changed. Deploy release {floor} or newer, or restore the database's backup of "
                f"{release} and remove {service} from ConfigMap {NAME}.",
            )


def _raise_to(found: dict[tuple[str, str], str], key: tuple[str, str], release: str) -> None:
    if key not in found or order(found[key]) < order(release):
        found[key] = release
