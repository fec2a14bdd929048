"""Waiting for an object to become healthy, and seeing when it is plain that it never will."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pillarbox.manifests.kinds import ConditionGate, Gate
from pillarbox.rollout.cluster import Cluster
from pillarbox.rollout.health import Health, condition_text, health
from pillarbox.rollout.objects import Object, ObjectRef, selector

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
    """The end of waiting for an object: ``healthy``, or the ``reason`` why not and the container's last ``log``."""

    ref: ObjectRef
    healthy: bool
    reason: str = ""
    log: str = ""
    seconds: float = 0.0


def wait(
    cluster: Cluster,
    wanted: ObjectRef,
    gate: Gate | ConditionGate,
    *,
    say: Callable[[str], None] = lambda text: None,
    scrub: Callable[[str], str] = lambda text: text,
    stop: Callable[[], bool] = lambda: False,
    changed: bool = True,
) -> Verdict:
    """Watch one object until it is healthy by its ``gate``, hopeless, or out of its own deadline.

    ``changed`` says that it was written just now: what Kubernetes says of a deadline is then still about before.
    The deadline of what runs pods starts again with every step forward, as Kubernetes counts it. ``stop`` ends the
    waiting (another object of the wave has failed).
    """
    known = health(gate)
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
            stale = known.failed(obj)
        while True:
            done, text = known.progress(obj)
            if text != last:
                moved, last = time.monotonic() if known.pods else moved, text
            if done:
                say(text)
                return Verdict(wanted, True, seconds=time.monotonic() - start)
            reason, pod, container = known.failed(obj), "", ""
            if not reason:
                stale = ""
            elif reason == stale and known.lingers:
                reason = ""
            # Until the controller has seen the change, the newest pods are still those from before it.
            pods = [] if reason or not known.seen(obj) else _pods(cluster, known, obj)
            say(scrub("; ".join([text, *_troubles(pods)])))
            if not reason:
                reason, pod, container = _hopeless(pods, since)
            if not reason and time.monotonic() - moved > known.deadline(obj):
                reason = f"not healthy within {known.deadline(obj):.0f} s ({text})"
            if reason:
                if not pod:
                    pod, container, more = culprit(_pods(cluster, known, obj))
                    reason = f"{reason}; {more}" if more else reason
                log = _log(cluster, wanted.namespace, pod, container) if container else ""
                return Verdict(wanted, False, scrub(reason), scrub(log).rstrip(), time.monotonic() - start)
            if stop():
                return Verdict(wanted, False, "stopped waiting", seconds=time.monotonic() - start)
            change = next(_changes(cluster, wanted, version), None)
            if change is None:
                break
            obj = {"apiVersion": wanted.api_version, "kind": wanted.kind, **change}
            version = str(obj["metadata"]["resourceVersion"])


def _pods(cluster: Cluster, known: Health, obj: Mapping[str, Any]) -> list[Object]:
    """The pods of a workload's newest revision."""
    labels = dict(((obj.get("spec") or {}).get("selector") or {}).get("matchLabels") or {})
    if not labels or not known.pods:
        return []
    namespace = obj["metadata"]["namespace"]

    def owned(api_version: str, kind: str) -> list[Object]:
        found, _ = cluster.list(api_version, kind, namespace, labels=selector(labels))
        return [item for item in found if _owned_by(item, obj)]

    newest = known.newest(obj, owned)
    if newest is None:
        return []
    found, _ = cluster.list("v1", "Pod", namespace, labels=selector({**labels, **newest}))
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


def _containers(pods: Iterable[Object]) -> Iterator[tuple[str, Mapping[str, Any], Mapping[str, Any]]]:
    """Each container of the pods: the pod's name, the container's status, and why it waits, where it does."""
    for pod in pods:
        status = pod.get("status") or {}
        for container in (*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ())):
            yield pod["metadata"]["name"], container, (container.get("state") or {}).get("waiting") or {}


def _troubles(pods: Iterable[Object]) -> Iterator[str]:
    """What has gone wrong in pods so far, and may still come right."""
    for name, container, waiting in _containers(pods):
        died, reason = int(container.get("restartCount") or 0), waiting.get("reason", "")
        code = ((container.get("state") or {}).get("terminated") or {}).get("exitCode")
        words = (
            reason if died or reason in _STUCK else "",
            f"died {died} times" if died else "",
            f"ended with exit code {code}" if code else "",
        )
        if any(words):
            yield f"container {container['name']} of pod {name}: {', '.join(filter(None, words))}"


def _hopeless(pods: Iterable[Object], since: dict[str, float]) -> tuple[str, str, str]:
    now = time.monotonic()
    seen: set[str] = set()
    for name, container, waiting in _containers(pods):
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
                message = waiting.get("message", "").strip()
                return f"{reason}: {where}{': ' + message if message else ''}", name, container["name"]
    for token in since.keys() - seen:
        del since[token]
    return "", "", ""


def _log(cluster: Cluster, namespace: str, pod: str, container: str) -> str:
    return cluster.log(namespace, pod, container) or cluster.log(namespace, pod, container, previous=True)


def culprit(pods: Iterable[Object]) -> tuple[str, str, str]:
    """The pod, container and state to blame when only all of the pods together are known to have failed."""

    def age(pod: Object) -> str:
        return str(pod["metadata"].get("creationTimestamp"))

    for pod in sorted(pods, key=age, reverse=True):
        name, status = pod["metadata"]["name"], pod.get("status") or {}
        for container in (*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ())):
            state = container.get("state") or {}
            ended = state.get("terminated") or (container.get("lastState") or {}).get("terminated") or {}
            where = f"container {container['name']} of pod {name}"
            if ended.get("exitCode"):
                return name, container["name"], f"{where} ended with exit code {ended['exitCode']}"
            if (waiting := state.get("waiting", {})) and waiting.get("reason") not in ("PodInitializing",):
                message = waiting.get("message", "").strip()
                return name, container["name"], f"{where} waits: {waiting.get('reason')}{message and f': {message}'}"
            if not container.get("ready") and "running" in state:
                return name, container["name"], f"{where} runs but is not ready"
        text = condition_text(pod, "PodScheduled", "False")
        if text:
            return "", "", f"pod {name} cannot be scheduled: {text}"
    return "", "", ""


def _owned_by(item: Mapping[str, Any], obj: Mapping[str, Any]) -> bool:
    return any(owner.get("uid") == obj["metadata"]["uid"] for owner in item["metadata"].get("ownerReferences") or ())
