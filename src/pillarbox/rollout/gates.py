"""When a workload counts as rolled out, and when it is plain that it never will."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from pillarbox.rollout.cluster import Cluster
from pillarbox.rollout.objects import Object, ObjectRef, selector

#: What a workload gets that sets no deadline of its own: Kubernetes' own default for Deployments.
DEADLINE = 600.0
#: Where kinds that have no progressDeadlineSeconds carry it.
DEADLINE_ANNOTATION = "pillarbox.io/progress-deadline"
#: A container that died this often within one rollout is not going to make it.
CRASHES = 4
#: Reasons to wait that do not pass by themselves, and for how long they are given the benefit of the doubt.
_STUCK = {
    "InvalidImageName": 0.0,
    "ErrImageNeverPull": 0.0,
    "CreateContainerConfigError": 20.0,
    "CreateContainerError": 40.0,
    "RunContainerError": 40.0,
    # These two take turns; a registry that restarts is back within their time.
    "ErrImagePull": 45.0,
    "ImagePullBackOff": 45.0,
}
_GLANCE = 3.0


@dataclass(frozen=True)
class Verdict:
    """The end of waiting for a workload: ``healthy``, or the ``reason`` why not and the container's last ``log``."""

    ref: ObjectRef
    healthy: bool
    reason: str = ""
    log: str = ""
    seconds: float = 0.0


def progress(obj: Mapping[str, Any]) -> tuple[bool, str]:
    """Whether a live workload is rolled out, and a few words on how far it is.

    Rolled out: the controller has seen the last change, every replica is of it and available, and none is older.
    """
    kind, spec, status = obj["kind"], obj.get("spec") or {}, obj.get("status") or {}
    if kind == "Job":
        done = int(status.get("succeeded") or 0)
        return _condition(obj, "Complete"), f"{done} of {spec.get('completions') or 1} completed"
    if int(status.get("observedGeneration") or 0) < int(obj["metadata"].get("generation") or 0):
        return False, "not yet seen by its controller"
    if kind == "DaemonSet":
        wanted = int(status.get("desiredNumberScheduled") or 0)
        updated = int(status.get("updatedNumberScheduled") or 0)
        available = int(status.get("numberAvailable") or 0)
        if (spec.get("updateStrategy") or {}).get("type") == "OnDelete":
            updated = wanted
        return updated >= wanted and available >= wanted, f"{updated} of {wanted} updated, {available} available"
    wanted = int(spec.get("replicas", 1))
    updated = int(status.get("updatedReplicas") or 0)
    if kind == "StatefulSet":
        available = int(status.get("readyReplicas") or 0)
        strategy = spec.get("updateStrategy") or {}
        partition = int((strategy.get("rollingUpdate") or {}).get("partition") or 0)
        due = 0 if strategy.get("type") == "OnDelete" else max(0, wanted - partition)
        # Once every replica is of the new revision, the controller reports it as the current one.
        settled = due < wanted or status.get("currentRevision") == status.get("updateRevision")
        updated = wanted if settled and due == wanted else updated
        return settled and updated >= due and available >= wanted, f"{updated} of {due} updated, {available} ready"
    available = int(status.get("availableReplicas") or 0)
    total = int(status.get("replicas") or 0)
    done = updated >= wanted and available >= wanted and total == updated
    return done, f"{updated} of {wanted} updated, {available} available"


def failed(obj: Mapping[str, Any]) -> str:
    """Why Kubernetes itself has given a workload up; empty while it has not."""
    if obj["kind"] == "Job":
        text = _condition_text(obj, "Failed", "True")
        return f"Job failed: {text}" if text else ""
    if obj["kind"] == "Deployment" and _seen(obj) and _reason(obj, "Progressing") == "ProgressDeadlineExceeded":
        return "no progress within its deadline"
    return ""


def wait(
    cluster: Cluster,
    wanted: ObjectRef,
    *,
    say: Callable[[str], None] = lambda text: None,
    scrub: Callable[[str], str] = lambda text: text,
    stop: Callable[[], bool] = lambda: False,
    changed: bool = True,
) -> Verdict:
    """Watch one workload until it is rolled out, hopeless, or out of its own deadline.

    ``changed`` says that it was written just now: what Kubernetes says of a deadline is then still about before.
    The deadline starts again with every step forward, as Kubernetes counts it. ``stop`` ends the waiting (another
    workload of the wave has failed).
    """
    start = moved = time.monotonic()
    last = ""
    since: dict[str, float] = {}
    stale: str | None = None
    while True:
        listed, version = cluster.list(
            wanted.api_version, wanted.kind, wanted.namespace, fields=f"metadata.name={wanted.name}"
        )
        if not listed:
            return Verdict(wanted, False, "it was deleted while being waited for", seconds=time.monotonic() - start)
        obj = listed[0]
        if changed and stale is None:
            stale = failed(obj)
        while True:
            done, text = progress(obj)
            if text != last:
                moved, last = time.monotonic(), text
                say(text)
            if done:
                return Verdict(wanted, True, seconds=time.monotonic() - start)
            reason, pod, container = failed(obj), "", ""
            if not reason:
                stale = ""
            elif reason == stale and obj["kind"] == "Deployment":
                reason = ""
            # Until the controller has seen the change, the newest pods are still those from before it.
            if not reason and _seen(obj):
                reason, pod, container = _hopeless(cluster, obj, since)
            if not reason and time.monotonic() - moved > deadline(obj):
                reason = f"not rolled out within {deadline(obj):.0f} s ({text})"
            if reason:
                return _verdict(cluster, obj, reason, pod, container, scrub, time.monotonic() - start)
            if stop():
                return Verdict(wanted, False, "stopped waiting", seconds=time.monotonic() - start)
            change = next(_changes(cluster, wanted, version), None)
            if change is None:
                break
            obj = {"apiVersion": wanted.api_version, "kind": wanted.kind, **change}
            version = str(obj["metadata"]["resourceVersion"])


def deadline(obj: Mapping[str, Any]) -> float:
    """Seconds without a step forward after which a workload counts as failed."""
    spec = obj.get("spec") or {}
    annotated = (obj["metadata"].get("annotations") or {}).get(DEADLINE_ANNOTATION)
    if annotated is not None:
        return float(annotated)
    if obj["kind"] == "Job":
        # The Job's controller enforces activeDeadlineSeconds; this only outlasts it.
        return float(spec.get("activeDeadlineSeconds") or DEADLINE) + 15
    # The Deployment's controller calls its own deadline first; this is for a controller that is down.
    return float(spec.get("progressDeadlineSeconds") or DEADLINE) + (15 if obj["kind"] == "Deployment" else 0)


def pods(cluster: Cluster, obj: Mapping[str, Any]) -> list[Object]:
    """The pods of a workload's newest revision."""
    labels = dict(((obj.get("spec") or {}).get("selector") or {}).get("matchLabels") or {})
    namespace = obj["metadata"]["namespace"]
    if not labels:
        return []
    if obj["kind"] == "Deployment":
        sets, _ = cluster.list("apps/v1", "ReplicaSet", namespace, labels=selector(labels))
        mine = [item for item in sets if _owned_by(item, obj)]
        if not mine:
            return []
        newest = max(mine, key=_revision)
        labels["pod-template-hash"] = newest["metadata"]["labels"].get("pod-template-hash", "")
    elif obj["kind"] == "DaemonSet":
        revisions, _ = cluster.list("apps/v1", "ControllerRevision", namespace, labels=selector(labels))
        mine = [item for item in revisions if _owned_by(item, obj)]
        if not mine:
            return []
        newest = max(mine, key=lambda item: int(item.get("revision") or 0))
        labels["controller-revision-hash"] = newest["metadata"]["labels"].get("controller-revision-hash", "")
    elif obj["kind"] == "StatefulSet" and (obj.get("status") or {}).get("updateRevision"):
        labels["controller-revision-hash"] = obj["status"]["updateRevision"]
    found, _ = cluster.list("v1", "Pod", namespace, labels=selector(labels))
    return found


def _changes(cluster: Cluster, wanted: ObjectRef, version: str) -> Any:
    for event, obj in cluster.watch(
        wanted.api_version,
        wanted.kind,
        wanted.namespace,
        fields=f"metadata.name={wanted.name}",
        since=version,
        seconds=_GLANCE,
    ):
        if event != "DELETED":
            yield obj
        return


def _hopeless(cluster: Cluster, obj: Mapping[str, Any], since: dict[str, float]) -> tuple[str, str, str]:
    now = time.monotonic()
    seen: set[str] = set()
    for pod in pods(cluster, obj):
        name, status = pod["metadata"]["name"], pod.get("status") or {}
        for container in (*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ())):
            waiting = (container.get("state") or {}).get("waiting") or {}
            reason = waiting.get("reason", "")
            where = f"container {container['name']} of pod {name}"
            if reason == "CrashLoopBackOff" and int(container.get("restartCount") or 0) >= CRASHES:
                ended = (container.get("lastState") or {}).get("terminated") or {}
                code = ended.get("exitCode", "unknown")
                count = container["restartCount"]
                text = f"CrashLoopBackOff: {where} died {count} times, last with exit code {code}"
                return text, name, container["name"]
            if reason in _STUCK:
                token = f"{name}/{container['name']}"
                seen.add(token)
                if now - since.setdefault(token, now) >= _STUCK[reason]:
                    said = waiting.get("message", "").strip()
                    return f"{reason}: {where}{': ' + said if said else ''}", name, container["name"]
    for token in since.keys() - seen:
        del since[token]
    return "", "", ""


def _verdict(
    cluster: Cluster,
    obj: Mapping[str, Any],
    reason: str,
    pod: str,
    container: str,
    scrub: Callable[[str], str],
    seconds: float,
) -> Verdict:
    wanted = ObjectRef(obj["apiVersion"], obj["kind"], obj["metadata"]["namespace"], obj["metadata"]["name"])
    if not pod:
        pod, container, more = _culprit(cluster, obj)
        reason = f"{reason}; {more}" if more else reason
    log = ""
    if pod and container:
        log = cluster.log(wanted.namespace, pod, container) or cluster.log(
            wanted.namespace, pod, container, previous=True
        )
    return Verdict(wanted, False, scrub(reason), scrub(log).rstrip(), seconds)


def _culprit(cluster: Cluster, obj: Mapping[str, Any]) -> tuple[str, str, str]:
    """The pod, container and state to blame when only the workload as a whole is known to have failed."""

    def age(pod: Object) -> str:
        return str(pod["metadata"].get("creationTimestamp"))

    for pod in sorted(pods(cluster, obj), key=age, reverse=True):
        name, status = pod["metadata"]["name"], pod.get("status") or {}
        for container in (*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ())):
            state = container.get("state") or {}
            ended = state.get("terminated") or (container.get("lastState") or {}).get("terminated") or {}
            where = f"container {container['name']} of pod {name}"
            if ended.get("exitCode"):
                return name, container["name"], f"{where} ended with exit code {ended['exitCode']}"
            if "waiting" in state and state["waiting"].get("reason") not in ("PodInitializing",):
                return name, container["name"], f"{where} waits: {state['waiting'].get('reason')}"
            if not container.get("ready") and "running" in state:
                return name, container["name"], f"{where} runs but is not ready"
        text = _condition_text(pod, "PodScheduled", "False")
        if text:
            return "", "", f"pod {name} cannot be scheduled: {text}"
    return "", "", ""


def _condition(obj: Mapping[str, Any], kind: str, status: str = "True") -> bool:
    return any(
        item.get("type") == kind and item.get("status") == status
        for item in (obj.get("status") or {}).get("conditions") or ()
    )


def _condition_text(obj: Mapping[str, Any], kind: str, status: str) -> str:
    for item in (obj.get("status") or {}).get("conditions") or ():
        if item.get("type") == kind and item.get("status") == status:
            return str(item.get("message") or item.get("reason") or status)
    return ""


def _reason(obj: Mapping[str, Any], kind: str) -> str:
    for item in (obj.get("status") or {}).get("conditions") or ():
        if item.get("type") == kind and item.get("status") == "False":
            return str(item.get("reason", ""))
    return ""


def _seen(obj: Mapping[str, Any]) -> bool:
    """Whether the workload's controller has acted on its newest spec; Jobs, whose template never changes, always."""
    observed = int((obj.get("status") or {}).get("observedGeneration") or 0)
    return obj["kind"] == "Job" or observed >= int(obj["metadata"].get("generation") or 0)


def _owned_by(item: Mapping[str, Any], obj: Mapping[str, Any]) -> bool:
    return any(owner.get("uid") == obj["metadata"]["uid"] for owner in item["metadata"].get("ownerReferences") or ())


def _revision(item: Mapping[str, Any]) -> int:
    return int((item["metadata"].get("annotations") or {}).get("deployment.kubernetes.io/revision", 0))
