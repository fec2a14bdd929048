"""When an object counts as healthy, by the gate of its kind: pure functions of what the API server says of it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from pillarbox.manifests.kinds import ConditionGate, Gate
from pillarbox.rollout.objects import Object
from pillarbox.rollout.states import JobState

#: What a workload gets that sets no deadline of its own: Kubernetes' own default for Deployments.
DEADLINE = 600.0
#: Where kinds that have no progressDeadlineSeconds carry it.
DEADLINE_ANNOTATION = "pillarbox.io/progress-deadline"
#: Controllers call a deadline of their own first; ours is for a controller that is down.
_GRACE = 15.0
_REVISION_HASH = "controller-revision-hash"

#: Lists the objects of one kind (API version, kind) that an object owns.
Owned = Callable[[str, str], Iterable[Object]]


class Health(ABC):
    """How objects with one gate come up."""

    #: Whether the object runs pods of its own.
    pods = True
    #: Whether what Kubernetes reported of a failure before a change is still there right after it.
    lingers = False

    @abstractmethod
    def progress(self, obj: Mapping[str, Any]) -> tuple[bool, str]:
        """Whether a live object is as its manifest wants it, and a few words on how far it is."""

    def failed(self, obj: Mapping[str, Any]) -> str:
        """Why Kubernetes itself has given the object up; empty while it has not."""
        return ""

    def seen(self, obj: Mapping[str, Any]) -> bool:
        """Whether the object's controller has acted on its newest spec."""
        return int(_status(obj).get("observedGeneration") or 0) >= int(obj["metadata"].get("generation") or 0)

    def deadline(self, obj: Mapping[str, Any]) -> float:
        """Seconds without a step forward after which the object counts as failed."""
        annotated = (obj["metadata"].get("annotations") or {}).get(DEADLINE_ANNOTATION)
        return float(annotated) if annotated is not None else self._deadline(_spec(obj))

    def newest(self, obj: Mapping[str, Any], owned: Owned) -> Mapping[str, str] | None:
        """The labels, beside its selector's, of the pods of the newest revision; ``None`` where there are none yet."""
        return {}

    def _deadline(self, spec: Mapping[str, Any]) -> float:
        return DEADLINE


class _Replicas(Health):
    """Rolled out: the controller has seen the last change, every replica is of it and available, and none is older."""

    def progress(self, obj: Mapping[str, Any]) -> tuple[bool, str]:
        return self._replicas(obj) if self.seen(obj) else (False, "not yet seen by its controller")

    @abstractmethod
    def _replicas(self, obj: Mapping[str, Any]) -> tuple[bool, str]: ...


class _Deployments(_Replicas):
    lingers = True

    def _replicas(self, obj: Mapping[str, Any]) -> tuple[bool, str]:
        status, wanted = _status(obj), int(_spec(obj).get("replicas", 1))
        updated, available = int(status.get("updatedReplicas") or 0), int(status.get("availableReplicas") or 0)
        done = updated >= wanted and available >= wanted and int(status.get("replicas") or 0) == updated
        return done, f"{updated} of {wanted} updated, {available} available"

    def failed(self, obj: Mapping[str, Any]) -> str:
        given_up = condition(obj, "Progressing").get("reason") == "ProgressDeadlineExceeded"
        return "no progress within its deadline" if given_up and self.seen(obj) else ""

    def newest(self, obj: Mapping[str, Any], owned: Owned) -> Mapping[str, str] | None:
        def revision(item: Object) -> int:
            return int((item["metadata"].get("annotations") or {}).get("deployment.kubernetes.io/revision", 0))

        found = max(owned("apps/v1", "ReplicaSet"), key=revision, default=None)
        return found and {"pod-template-hash": found["metadata"]["labels"].get("pod-template-hash", "")}

    def _deadline(self, spec: Mapping[str, Any]) -> float:
        return float(spec.get("progressDeadlineSeconds") or DEADLINE) + _GRACE


class _StatefulSets(_Replicas):
    def _replicas(self, obj: Mapping[str, Any]) -> tuple[bool, str]:
        spec, status = _spec(obj), _status(obj)
        wanted, available = int(spec.get("replicas", 1)), int(status.get("readyReplicas") or 0)
        strategy = spec.get("updateStrategy") or {}
        partition = int((strategy.get("rollingUpdate") or {}).get("partition") or 0)
        due = 0 if strategy.get("type") == "OnDelete" else max(0, wanted - partition)
        # Once every replica is of the new revision, the controller reports it as the current one.
        settled = due < wanted or status.get("currentRevision") == status.get("updateRevision")
        updated = wanted if settled and due == wanted else int(status.get("updatedReplicas") or 0)
        done = settled and updated >= due and available >= wanted
        return done, f"{updated} of {due} updated, {available} ready"

    def newest(self, obj: Mapping[str, Any], owned: Owned) -> Mapping[str, str] | None:
        revision = _status(obj).get("updateRevision")
        return {_REVISION_HASH: revision} if revision else {}


class _DaemonSets(_Replicas):
    def _replicas(self, obj: Mapping[str, Any]) -> tuple[bool, str]:
        status = _status(obj)
        wanted, available = int(status.get("desiredNumberScheduled") or 0), int(status.get("numberAvailable") or 0)
        on_delete = (_spec(obj).get("updateStrategy") or {}).get("type") == "OnDelete"
        updated = wanted if on_delete else int(status.get("updatedNumberScheduled") or 0)
        return updated >= wanted and available >= wanted, f"{updated} of {wanted} updated, {available} available"

    def newest(self, obj: Mapping[str, Any], owned: Owned) -> Mapping[str, str] | None:
        revisions = owned("apps/v1", "ControllerRevision")
        found = max(revisions, key=lambda item: int(item.get("revision") or 0), default=None)
        return found and {_REVISION_HASH: found["metadata"]["labels"].get(_REVISION_HASH, "")}


class _Jobs(Health):
    """A Job's template never changes, so that its controller has always seen it."""

    def progress(self, obj: Mapping[str, Any]) -> tuple[bool, str]:
        done, wanted = int(_status(obj).get("succeeded") or 0), _spec(obj).get("completions") or 1
        return job_state(obj) is JobState.COMPLETE, f"{done} of {wanted} completed"

    def failed(self, obj: Mapping[str, Any]) -> str:
        return f"Job failed: {text}" if (text := condition_text(obj, "Failed")) else ""

    def seen(self, obj: Mapping[str, Any]) -> bool:
        return True

    def _deadline(self, spec: Mapping[str, Any]) -> float:
        return float(spec.get("activeDeadlineSeconds") or DEADLINE) + _GRACE


class _Conditions(Health):
    """An object whose own controller says in ``status.conditions`` how it is.

    Controllers that report a generation, of the object or of the condition, are believed once it is the newest.
    """

    pods = False

    def __init__(self, wanted: ConditionGate) -> None:
        self.wanted = wanted

    def progress(self, obj: Mapping[str, Any]) -> tuple[bool, str]:
        found = condition(obj, self.wanted.type)
        if not self.seen(obj) or not _current(obj, found):
            return False, "not yet seen by its controller"
        if not found:
            return False, f"no condition {self.wanted.type} yet"
        text = f"{self.wanted.type} is {found.get('status')}"
        if found.get("status") == self.wanted.status:
            return True, text
        return False, f"{text}: {why}" if (why := found.get("message") or found.get("reason")) else text

    def seen(self, obj: Mapping[str, Any]) -> bool:
        return _current(obj, _status(obj))

    def _deadline(self, spec: Mapping[str, Any]) -> float:
        return self.wanted.timeout


_BY_GATE: Mapping[Gate, Health] = {
    Gate.DEPLOYMENT: _Deployments(),
    Gate.STATEFUL_SET: _StatefulSets(),
    Gate.DAEMON_SET: _DaemonSets(),
    Gate.JOB: _Jobs(),
}


def health(gate: Gate | ConditionGate) -> Health:
    """How objects with ``gate`` come up."""
    return _Conditions(gate) if isinstance(gate, ConditionGate) else _BY_GATE[gate]


def job_state(live: Mapping[str, Any] | None) -> JobState:
    """How far a live Job is; ``None`` is one that is not there."""
    if live is None:
        return JobState.ABSENT
    for word, state in (("Complete", JobState.COMPLETE), ("Failed", JobState.FAILED)):
        if condition(live, word).get("status") == "True":
            return state
    return JobState.RUNNING


def condition(obj: Mapping[str, Any], kind: str) -> Mapping[str, Any]:
    """One of an object's conditions; empty when it has none of that type."""
    found = (item for item in _status(obj).get("conditions") or () if item.get("type") == kind)
    return next(found, {})


def condition_text(obj: Mapping[str, Any], kind: str, status: str = "True") -> str:
    """What an object says of a condition that has ``status``; empty when it does not have it."""
    found = condition(obj, kind)
    return str(found.get("message") or found.get("reason") or status) if found.get("status") == status else ""


def _spec(obj: Mapping[str, Any]) -> Mapping[str, Any]:
    return obj.get("spec") or {}


def _status(obj: Mapping[str, Any]) -> Mapping[str, Any]:
    return obj.get("status") or {}


def _current(obj: Mapping[str, Any], status: Mapping[str, Any]) -> bool:
    observed = status.get("observedGeneration")
    return observed is None or int(observed) >= int(obj["metadata"].get("generation") or 0)
