"""What the model says against what the cluster has: drift, and what is unhealthy. Writes nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pillarbox.manifests.kinds import Gate
from pillarbox.rollout.apply import prepare, survey
from pillarbox.rollout.cluster import Cluster
from pillarbox.rollout.health import health, job_state
from pillarbox.rollout.objects import ObjectRef
from pillarbox.rollout.prune import orphans
from pillarbox.rollout.states import Action, JobState, ObjectState
from pillarbox.secrets import Keyring

if TYPE_CHECKING:
    from pillarbox.manifests import Manifest


@dataclass(frozen=True)
class ObjectStatus:
    """One object's state, and the ``detail`` of it."""

    ref: ObjectRef
    state: ObjectState
    detail: str = ""

    def as_dict(self) -> dict[str, str]:
        """The state as plain data."""
        return {
            "kind": self.ref.kind,
            "namespace": self.ref.namespace,
            "name": self.ref.name,
            "state": self.state.value,
            "detail": self.detail,
        }


def status(
    cluster: Cluster, manifests: Sequence[Manifest], *, deployment: str, keyring: Keyring
) -> tuple[ObjectStatus, ...]:
    """The state of every object of ``deployment``, in the order of ``manifests``, then what the model lacks."""
    prepared, scrub = prepare(cluster, manifests, deployment, keyring)
    found = []
    for change in survey(cluster, prepared, scrub):
        if change.action is Action.CREATE:
            found.append(ObjectStatus(change.ref, ObjectState.MISSING))
            continue
        live = cluster.get(change.ref) if change.gate else None
        if live is not None and change.gate is Gate.JOB:
            state = job_state(live)
            found.append(
                ObjectStatus(
                    change.ref, ObjectState.UNHEALTHY if state is JobState.FAILED else ObjectState.OK, state.value
                )
            )
            continue
        healthy, text = health(change.gate).progress(live) if live and change.gate else (True, "")
        if not healthy:
            found.append(ObjectStatus(change.ref, ObjectState.UNHEALTHY, text))
        elif change.fields:
            whose = sorted({one.manager for one in change.taken})
            detail = ", ".join(change.fields) + (f"; set by {', '.join(whose)}" if whose else "")
            found.append(ObjectStatus(change.ref, ObjectState.DRIFTED, detail))
        else:
            found.append(ObjectStatus(change.ref, ObjectState.OK, text))
    for orphan in orphans(cluster, [item.ref for item in prepared], deployment):
        found.append(ObjectStatus(orphan.ref, ObjectState.EXTRA, orphan.kept and f"left alone, {orphan.kept}"))
    return tuple(found)
