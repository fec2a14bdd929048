"""What the model says against what the cluster has: drift, and what is unhealthy. Writes nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pillarbox.rollout import gates
from pillarbox.rollout.apply import job_state, prepare, survey
from pillarbox.rollout.cluster import Cluster
from pillarbox.rollout.objects import GATED, Ref
from pillarbox.rollout.prune import orphans
from pillarbox.secrets import Keyring

if TYPE_CHECKING:
    from pillarbox.manifests import Manifest


@dataclass(frozen=True)
class State:
    """One object's state: ``ok``, ``missing``, ``drifted``, ``unhealthy`` or ``extra``, and the ``detail`` of it."""

    ref: Ref
    state: str
    detail: str = ""

    def as_dict(self) -> dict[str, str]:
        """The state as plain data."""
        return {
            "kind": self.ref.kind,
            "namespace": self.ref.namespace,
            "name": self.ref.name,
            "state": self.state,
            "detail": self.detail,
        }


def status(cluster: Cluster, manifests: Sequence[Manifest], *, deployment: str, keyring: Keyring) -> tuple[State, ...]:
    """The state of every object of ``deployment``, in the order of ``manifests``, then what the model lacks."""
    prepared, scrub = prepare(cluster, manifests, deployment, keyring)
    found = []
    for change in survey(cluster, prepared, scrub):
        if change.action == "create":
            found.append(State(change.ref, "missing"))
            continue
        live = cluster.get(change.ref) if change.ref.kind in GATED else None
        if live is not None and change.ref.kind == "Job":
            state = job_state(live)
            found.append(State(change.ref, "unhealthy" if state == "failed" else "ok", state))
            continue
        healthy, text = gates.progress(live) if live is not None else (True, "")
        if not healthy:
            found.append(State(change.ref, "unhealthy", text))
        elif change.fields:
            found.append(State(change.ref, "drifted", ", ".join(change.fields)))
        else:
            found.append(State(change.ref, "ok", text))
    for orphan in orphans(cluster, [item.ref for item in prepared], deployment):
        found.append(State(orphan.ref, "extra", orphan.kept and f"left alone, {orphan.kept}"))
    return tuple(found)
