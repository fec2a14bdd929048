"""Objects that we made and the model no longer has."""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from pillarbox.manifests import kinds
from pillarbox.manifests.policies import for_all_pods
from pillarbox.manifests.references import of_pod
from pillarbox.rollout.cluster import FIELD_MANAGER, Cluster
from pillarbox.rollout.errors import ApiError
from pillarbox.rollout.memory import NAME
from pillarbox.rollout.objects import DEPLOYMENT, MANAGED_BY, Object, ObjectRef, applied_by, ref, selector

#: Requests for kinds are independent of each other.
_PARALLEL = 8
#: Namespaces that every cluster has by itself; a model may give them labels.
_CLUSTERS_OWN = frozenset({"default", "kube-system", "kube-public", "kube-node-lease"})


@dataclass(frozen=True)
class Orphan:
    """An object of ours that the model does not have. ``kept`` says why it stays all the same."""

    ref: ObjectRef
    kept: str = ""


def orphans(
    cluster: Cluster, wanted: Iterable[ObjectRef], deployment: str, *, data_too: bool = False
) -> tuple[Orphan, ...]:
    """What ``deployment`` left behind in the cluster, in the order in which it can be deleted.

    Every kind that the cluster serves is asked for, so that no record of what was ever deployed can be lost.
    ``data_too`` gives up what is kept as well: what may hold data, and Secrets that pods still use. Namespaces that
    every cluster has by itself stay in any case.
    """
    known = {item.same for item in wanted}
    labels = selector({MANAGED_BY: "pillarbox", DEPLOYMENT: deployment})

    def listed(kind: tuple[str, str]) -> list[tuple[ObjectRef, Object]]:
        try:
            return [(ref(item), item) for item in cluster.list(*kind, labels=labels)[0]]
        except ApiError:
            # Ours are kinds that we may list; what another's extension does not give out is not ours.
            if kinds.find(*kind).apis:
                raise
            return []

    with ThreadPoolExecutor(_PARALLEL) as pool:
        labelled = [found for each in pool.map(listed, cluster.kinds(kinds.GROUPS)) for found in each]
    # Several groups may serve one object, which has the same uid in all of them.
    seen = {item["metadata"]["uid"] for identity, item in labelled if identity.same in known}
    found: list[tuple[ObjectRef, Object]] = []
    for identity, item in sorted(labelled, key=_deletion_order):
        if item["metadata"]["uid"] not in seen and _is_ours(item) and identity.name != NAME:
            seen.add(item["metadata"]["uid"])
            found.append((identity, item))
    used = _used_secrets(cluster, {item.namespace for item, _ in found if item.type is kinds.SECRET}, found)
    return tuple(Orphan(identity, _reason(identity, item, used, data_too)) for identity, item in found)


def _deletion_order(each: tuple[ObjectRef, Object]) -> tuple[int, bool, ObjectRef]:
    # What keeps all pods from everything goes before what allows them something.
    return (-kinds.order(each[0].type), not for_all_pods(each[1]), each[0])


def _is_ours(item: Object) -> bool:
    """Whether we applied it: controllers copy our labels to what they make of our objects."""
    return not item["metadata"].get("ownerReferences") and applied_by(item, FIELD_MANAGER)


def _reason(identity: ObjectRef, item: Object, used: set[tuple[str, str]], data_too: bool) -> str:
    if identity.type is kinds.NAMESPACE and identity.name in _CLUSTERS_OWN:
        return "every cluster has it"
    if data_too:
        return ""
    if identity.type.precious:
        return identity.type.precious
    if (item["metadata"].get("annotations") or {}).get(kinds.KEEP) == "true":
        return "the model had it as one to keep"
    if identity.type is kinds.SECRET and (identity.namespace, identity.name) in used:
        return "pods still use it"
    return ""


def _used_secrets(
    cluster: Cluster, namespaces: Iterable[str], going: Iterable[tuple[ObjectRef, Object]]
) -> set[tuple[str, str]]:
    # Pods of workloads that are deleted in the same run do not count as users.
    selectors = [
        (item.namespace, ((obj.get("spec") or {}).get("selector") or {}).get("matchLabels") or {})
        for item, obj in going
        if item.type.runs_pods
    ]
    used = set()
    for namespace in namespaces:
        for pod in cluster.list("v1", "Pod", namespace)[0]:
            labels = pod["metadata"].get("labels") or {}
            if any(where == namespace and match and match.items() <= labels.items() for where, match in selectors):
                continue
            used |= {(namespace, each.name) for each in of_pod(pod["spec"]) if each.kind is kinds.SECRET}
    return used
