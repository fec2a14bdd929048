"""Taking a node out of service and putting it back: cordon, drain and uncordon, as ``kubectl`` has them.

Pods are evicted, not deleted, so disruption budgets hold. Those of a DaemonSet stay, since they would come back at
once; so do those that can run nowhere else: for them, an eviction would be an outage and not a move. Programs of the
node may be replaced under pods that stay, whose containers go on running.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from pillarbox.rollout.cluster import Cluster
from pillarbox.rollout.errors import ApiError, Refused, RolloutError
from pillarbox.rollout.gates import culprit
from pillarbox.rollout.health import condition, condition_text
from pillarbox.rollout.objects import Object, ObjectRef, applied_by
from pillarbox.rollout.states import ObjectState
from pillarbox.rollout.status import ObjectStatus
from pillarbox.system.progress import Progress, elapsed
from pillarbox.system.waiting import pause

#: Owns the cordons that are set here: one that an administrator set stays when this one is lifted.
MANAGER = "pillarbox-update"
_HOSTNAME = "kubernetes.io/hostname"
_MIRROR = "kubernetes.io/config.mirror"
_ENDED = ("Succeeded", "Failed")
_AGAIN = 2.0
#: Seconds that clocks may differ.
APART = 60.0
_LEASES = ("coordination.k8s.io/v1", "Lease", "kube-node-lease")
#: Seconds within which a node that is Ready renews its lease; Kubernetes' own default.
_RENEWED = 50.0
_LOOK = "See why, then deploy again: kubectl get pods,poddisruptionbudgets -A -o wide"


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


def drain(cluster: Cluster, name: str, *, patience: float, progress: Progress) -> Mapping[ObjectRef, int]:
    """Have every pod of a cordoned node go that can run elsewhere, and wait until none is left and as many are ready
    elsewhere as were before, but for those that no other node has room for. Returns the controllers of what left, and
    how many pods of each were ready, for :func:`settle`.

    All that has ``patience`` seconds, also a pod that its disruption budget holds back, which is asked to go again;
    then, and where a pod has no controller that would replace it, :class:`Refused` is raised. A node that is not Ready
    cannot say that a pod has gone: there it is only asked to.
    """
    deadline = time.monotonic() + patience
    staying: set[str] = set()
    moved: dict[ObjectRef, int] = {}
    with progress.waiting(f"node {name}: pods leave") as activity:
        while leaving := [*_leaving(cluster, name, staying, progress)]:
            held: dict[str, str] = {}
            for pod, owner in leaving:
                moved.setdefault(owner, _replicas(cluster, owner)[0])
                if not pod["metadata"].get("deletionTimestamp") and (why := _evict(cluster, pod)):
                    held[_title(pod)] = "; ".join(filter(None, (why, culprit(_unready(cluster, owner))[2])))
            names = ", ".join(sorted(_title(pod) for pod, _ in leaving))
            if time.monotonic() > deadline:
                reasons = "; ".join(f"{pod}: {why}" for pod, why in sorted(held.items()))
                raise Refused(
                    f"node {name} still has pods after {patience:g} s: {names}{f' ({reasons})' if reasons else ''}",
                    hint=_LOOK,
                )
            activity.now(f"node {name}: pods leave: {names}")
            pause(_AGAIN, f"the pods of node {name}")
    _ready_again(cluster, name, moved, deadline, progress, everywhere=False)
    return moved


def settle(cluster: Cluster, name: str, moved: Mapping[ObjectRef, int], *, patience: float, progress: Progress) -> None:
    """Wait until as many pods are ready of what left a node as before, now that it takes pods again. Raises
    :class:`Refused` after ``patience`` seconds."""
    _ready_again(cluster, name, moved, time.monotonic() + patience, progress, everywhere=True)


def status(cluster: Cluster, names: Iterable[str]) -> Iterator[ObjectStatus]:
    """How each of these nodes stands: whether pods can run there, and whether a deploy took it out of service."""
    nodes = {node["metadata"]["name"]: node for node in cluster.list("v1", "Node")[0]}
    leases = {each["metadata"]["name"]: each for each in cluster.list(*_LEASES)[0]}
    now = datetime.now(UTC)
    for name in names:
        live = nodes.get(name)
        if live is None:
            yield ObjectStatus(_ref(name), ObjectState.MISSING)
            continue
        ours = "takes no new pods until a deploy finds its host well" if applied_by(live, MANAGER) else ""
        trouble = _trouble(live) or _clock(leases.get(name, {}), now)
        detail = "; ".join(filter(None, (trouble, ours)))
        yield ObjectStatus(_ref(name), ObjectState.UNHEALTHY if detail else ObjectState.OK, detail)


def _trouble(live: Object) -> str:
    """What keeps a node from running pods, in words; nothing where it does."""
    ready = condition(live, "Ready")
    if ready.get("status") != "True":
        return f"not Ready: {ready.get('message') or ready.get('reason') or 'it has not reported yet'}"
    pressed = [each["type"] for each in live["status"]["conditions"] if each["type"].endswith("Pressure")]
    found = [f"{kind}: {text}" for kind in pressed if (text := condition_text(live, kind))]
    return "; ".join(found)


def _clock(lease: Object, now: datetime) -> str:
    """How wrong the clock of a node is that is Ready, in words: it renews its lease by the time that it believes in."""
    if not (renewed := (lease.get("spec") or {}).get("renewTime")):
        return ""
    ahead = (datetime.fromisoformat(renewed) - now).total_seconds()
    if ahead > APART:
        return f"its clock is {elapsed(ahead)} ahead of this machine's"
    if -ahead > APART + _RENEWED:
        return f"its clock is {elapsed(-ahead)} behind this machine's"
    return ""


def _leaving(cluster: Cluster, name: str, staying: set[str], progress: Progress) -> Iterator[tuple[Object, ObjectRef]]:
    """The pods that have to go from the node ``name``, with their controllers; says once of each that stays why."""
    live = _node(cluster, name)
    host = live["metadata"].get("labels", {}).get(_HOSTNAME, name)
    # One that has just been made says nothing yet.
    silent = condition(live, "Ready").get("status", "True") != "True"
    if silent and name not in staying:
        staying.add(name)
        progress.step(f"node {name}: {_trouble(live)}; its pods are evicted, and not waited for")
    pods, _ = cluster.list("v1", "Pod", fields=f"spec.nodeName={name}")
    for pod in pods:
        metadata = pod["metadata"]
        owner = next((each for each in _owners(pod) if each.get("controller")), None)
        mirror = _MIRROR in (metadata.get("annotations") or {})
        if mirror or pod.get("status", {}).get("phase") in _ENDED or (owner and owner["kind"] == "DaemonSet"):
            continue
        if silent and metadata.get("deletionTimestamp"):
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
        yield pod, ObjectRef(owner["apiVersion"], owner["kind"], metadata["namespace"], owner["name"])


def _ready_again(
    cluster: Cluster,
    name: str,
    moved: Mapping[ObjectRef, int],
    deadline: float,
    progress: Progress,
    *,
    everywhere: bool,
) -> None:
    where = "" if everywhere else " elsewhere"
    with progress.waiting(f"node {name}: what left it gets ready{where}") as activity:
        while missing := [*_missing(cluster, moved, everywhere)]:
            if time.monotonic() > deadline:
                reasons = "; ".join(f"{text}: {culprit(_unready(cluster, owner))[2]}" for owner, text in missing)
                raise Refused(f"what left node {name} is not ready{where} in time: {reasons}", hint=_LOOK)
            activity.now(f"node {name}: what left it gets ready{where}: {', '.join(text for _, text in missing)}")
            pause(_AGAIN, f"the pods that left node {name}")


def _replicas(cluster: Cluster, owner: ObjectRef) -> tuple[int, int]:
    """How many pods of a controller are ready, and how many it wants; none of one that keeps no number of them."""
    found = cluster.get(owner) or {}
    ready, wanted = (found.get("status") or {}).get("readyReplicas"), (found.get("spec") or {}).get("replicas")
    return int(ready or 0), int(wanted or 0)


def _missing(cluster: Cluster, before: Mapping[ObjectRef, int], everywhere: bool) -> Iterator[tuple[ObjectRef, str]]:
    """The controllers that have fewer ready pods than ``before``, and want more; in words. Unless ``everywhere``
    counts, a pod that finds no node is not waited for: it may be the one that was drained that it waits for."""
    for owner, count in before.items():
        ready, wanted = _replicas(cluster, owner)
        missing = min(count, wanted) - ready
        if missing > 0 and not everywhere:
            missing -= sum(bool(condition_text(pod, "PodScheduled", "False")) for pod in _unready(cluster, owner))
        if missing > 0:
            yield owner, f"{owner} has {ready} of {min(count, wanted)} ready"


def _unready(cluster: Cluster, owner: ObjectRef) -> list[Object]:
    """The pods of a controller that are not ready, and are to be."""
    pods, _ = cluster.list("v1", "Pod", owner.namespace)
    return [
        pod
        for pod in pods
        if condition(pod, "Ready").get("status") != "True" and not pod["metadata"].get("deletionTimestamp")
        if (owner.kind, owner.name) in {(each["kind"], each["name"]) for each in _owners(pod)}
    ]


def _owners(pod: Object) -> list[Object]:
    return pod["metadata"].get("ownerReferences") or []


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
    found = cluster.get(_ref(name))
    if found is None:
        raise RolloutError(
            f"the cluster at {cluster.server} has no node {name}",
            hint="pillarbox:update:drain:node in the pillar of the host names it. A host that is not in the cluster "
            "yet joins it by its states: salt HOST state.highstate",
        )
    return found


def _ref(name: str) -> ObjectRef:
    return ObjectRef("v1", "Node", "", name)


def _mark(name: str) -> Object:
    return {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}}


def _title(pod: Object) -> str:
    return f"{pod['metadata']['namespace']}/{pod['metadata']['name']}"
