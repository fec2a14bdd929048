"""Taking a node out of service and putting it back: cordon, drain and uncordon, as ``kubectl`` has them.

Pods are evicted, not deleted, so disruption budgets hold. Those of a DaemonSet stay, since they would come back at
once; so do those that can run nowhere else: for them, an eviction would be an outage and not a move. Programs of the
node may be replaced under pods that stay, whose containers go on running.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from pillarbox.rollout.cluster import Cluster
from pillarbox.rollout.errors import ApiError, Refused, RolloutError
from pillarbox.rollout.objects import Object, ObjectRef, applied_by
from pillarbox.system.progress import Progress
from pillarbox.system.waiting import pause

#: Owns the cordons that are set here: one that an administrator set stays when this one is lifted.
MANAGER = "pillarbox-update"
_HOSTNAME = "kubernetes.io/hostname"
_MIRROR = "kubernetes.io/config.mirror"
_ENDED = ("Succeeded", "Failed")
_AGAIN = 2.0


def cordon(cluster: Cluster, name: str) -> None:
    """Let no new pod come to the node ``name``. Raises :class:`RolloutError` where the cluster has no such node."""
    _node(cluster, name)
    cluster.apply({**_mark(name), "spec": {"unschedulable": True}}, manager=MANAGER)


def uncordon(cluster: Cluster, name: str) -> None:
    """Lift the cordon that :func:`cordon` set; one that somebody else set as well stays."""
    _node(cluster, name)
    cluster.apply(_mark(name), manager=MANAGER)


def cordoned(cluster: Cluster, names: Iterable[str]) -> tuple[str, ...]:
    """Which of these nodes have a cordon that :func:`cordon` set."""
    nodes, _ = cluster.list("v1", "Node")
    ours = {node["metadata"]["name"] for node in nodes if applied_by(node, MANAGER)}
    return tuple(name for name in names if name in ours)


def drain(cluster: Cluster, name: str, *, patience: float, progress: Progress) -> None:
    """Have every pod of a cordoned node go that can run elsewhere, and wait until none is left.

    A pod that its disruption budget holds back is asked to go again for ``patience`` seconds; then, and where a pod has
    no controller that would replace it, :class:`Refused` is raised.
    """
    host = _node(cluster, name)["metadata"].get("labels", {}).get(_HOSTNAME, name)
    deadline = time.monotonic() + patience
    staying: set[str] = set()
    held: dict[str, str] = {}
    with progress.waiting(f"node {name}: pods leave") as activity:
        while leaving := [*_leaving(cluster, name, host, staying, progress)]:
            held = {}
            for pod in leaving:
                if not pod["metadata"].get("deletionTimestamp") and (why := _evict(cluster, pod)):
                    held[_title(pod)] = why
            names = ", ".join(sorted(_title(pod) for pod in leaving))
            if time.monotonic() > deadline:
                reasons = "; ".join(f"{pod}: {why}" for pod, why in sorted(held.items()))
                raise Refused(
                    f"node {name} still has pods after {patience:g} s: {names}{f' ({reasons})' if reasons else ''}",
                    hint="See why they stay, then deploy again: kubectl get pods,poddisruptionbudgets -A -o wide",
                )
            activity.now(f"node {name}: pods leave: {names}")
            pause(_AGAIN, f"the pods of node {name}")


def _leaving(cluster: Cluster, name: str, host: str, staying: set[str], progress: Progress) -> Iterator[Object]:
    """The pods that have to go from the node ``name``, whose label is ``host``; says once of each that stays why."""
    pods, _ = cluster.list("v1", "Pod", fields=f"spec.nodeName={name}")
    for pod in pods:
        metadata = pod["metadata"]
        owner = next((each for each in metadata.get("ownerReferences") or () if each.get("controller")), None)
        mirror = _MIRROR in (metadata.get("annotations") or {})
        if mirror or pod.get("status", {}).get("phase") in _ENDED or (owner and owner["kind"] == "DaemonSet"):
            continue
        if _bound(cluster, pod, host):
            if _title(pod) not in staying:
                staying.add(_title(pod))
                progress.step(f"node {name}: pod {_title(pod)} stays: it can run nowhere else")
            continue
        if owner is None:
            raise Refused(
                f"pod {_title(pod)} on node {name} has no controller: nothing would start it again",
                hint="Delete it, or run it by a Deployment; then deploy again.",
            )
        yield pod


def _bound(cluster: Cluster, pod: Object, host: str) -> bool:
    """Whether a pod can run on the node with this label alone: it says so, or a volume of it is there."""
    spec = pod["spec"]
    if (spec.get("nodeSelector") or {}).get(_HOSTNAME) == host:
        return True
    namespace = pod["metadata"]["namespace"]
    for volume in spec.get("volumes") or ():
        if claimed := volume.get("persistentVolumeClaim"):
            claim = cluster.get(ObjectRef("v1", "PersistentVolumeClaim", namespace, claimed["claimName"]))
            bound = ((claim or {}).get("spec") or {}).get("volumeName")
            found = cluster.get(ObjectRef("v1", "PersistentVolume", "", bound)) if bound else None
            if found and _only(found["spec"].get("nodeAffinity") or {}, host):
                return True
    return False


def _only(affinity: Mapping[str, Any], host: str) -> bool:
    """Whether a volume's affinity leaves no node but the one with this label."""
    terms = (affinity.get("required") or {}).get("nodeSelectorTerms") or ()
    wanted = {"key": _HOSTNAME, "operator": "In", "values": [host]}
    return bool(terms) and all(wanted in (term.get("matchExpressions") or ()) for term in terms)


def _evict(cluster: Cluster, pod: Object) -> str:
    """Ask a pod to go; why it may not yet, or nothing."""
    try:
        cluster.evict(pod["metadata"]["namespace"], pod["metadata"]["name"])
    except ApiError as error:
        if error.status == 429:
            return "; ".join(message for _, message in error.causes) or error.message
        if error.status != 404:
            raise
    return ""


def _node(cluster: Cluster, name: str) -> Object:
    found = cluster.get(ObjectRef("v1", "Node", "", name))
    if found is None:
        raise RolloutError(
            f"the cluster at {cluster.server} has no node {name}",
            hint="pillarbox:update:drain:node in the pillar of the host names it.",
        )
    return found


def _mark(name: str) -> Object:
    return {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}}


def _title(pod: Object) -> str:
    return f"{pod['metadata']['namespace']}/{pod['metadata']['name']}"
