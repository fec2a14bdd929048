"""NetworkPolicies while pods are replaced: those of before and those of after have what they need."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pillarbox.manifests import kinds
from pillarbox.rollout.apply import LiveChange
from pillarbox.rollout.objects import Object
from pillarbox.rollout.states import Action

_DIRECTIONS = {"Ingress": "ingress", "Egress": "egress"}
#: One rule that allows everything.
_EVERYTHING: list[Object] = [{}]


def widened(change: LiveChange) -> Object | None:
    """What a changed NetworkPolicy is until all pods are replaced: it allows what it did before and what it will.

    ``None`` for any other change, and where that is what it will be anyway. A policy that is now for other pods is not
    widened: what it allowed was for others.
    """
    if change.ref.type is not kinds.NETWORK_POLICY or change.action is not Action.UPDATE or change.prepared is None:
        return None
    wanted = change.prepared.object["spec"]
    before: Mapping[str, Any] = (change.before or {}).get("spec") or {}
    if before.get("podSelector") != wanted.get("podSelector"):
        return None
    spec = dict(wanted)
    for direction in _limited(wanted):
        key = _DIRECTIONS[direction]
        old = before.get(key) or [] if direction in _limited(before) else _EVERYTHING
        rules = wanted.get(key) or []
        if more := [rule for rule in old if rule not in rules]:
            spec[key] = [*rules, *more]
    return {**change.prepared.object, "spec": spec} if spec != wanted else None


def _limited(spec: Mapping[str, Any]) -> list[str]:
    """The directions that a policy limits; what it does not limit, it allows."""
    return spec.get("policyTypes") or ["Ingress", *(["Egress"] if spec.get("egress") else [])]
