"""Affinity: as Kubernetes writes it, or in the words of the original formula."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pillarbox.manifests.manifest import Object
from pillarbox.manifests.scope import compact
from pillarbox.manifests.section import PillarSection

_KINDS = ("nodeAffinity", "podAffinity", "podAntiAffinity")
_SPELLINGS = {"node_affinity": "nodeAffinity", "pod_affinity": "podAffinity", "pod_anti_affinity": "podAntiAffinity"}


def affinity(section: PillarSection) -> Object:
    """The affinity of a pod. Entries with an ``expression`` are the formula's, all others stand as they are."""
    found: dict[str, Any] = {}
    with section:
        for key in sorted(section.given):
            value = section.value(key)
            if isinstance(value, Mapping) and "expression" in value:
                with section.section(key) as entry:
                    kind = entry.choice("name", among=_KINDS, default=_SPELLINGS.get(key))
                    if kind:
                        _merge(found.setdefault(kind, {}), _translated(entry, kind))
            elif key in _SPELLINGS:
                _merge(found.setdefault(_SPELLINGS[key], {}), value)
            else:
                section.problem(f"unknown affinity {section.spelling(key)}", f"Known: {', '.join(_KINDS)}.")
    return found


def _merge(into: Object, rule: Any) -> None:
    for key, value in (rule if isinstance(rule, Mapping) else {}).items():
        both_lists = isinstance(into.get(key), list) and isinstance(value, list)
        into[key] = into[key] + value if both_lists else value


def _translated(entry: PillarSection, kind: str) -> Object:
    preferred = entry.choice("type", among=("required", "preferred"), default="required") == "preferred"
    weight = entry.number("weight", low=1, high=100) or 100
    topology = entry.text("topology_key")
    rules: list[Object] = []
    for _, expression in entry.sections("expression"):
        with expression:
            expression.ignore("name")
            selectors = list(expression.items("selectors"))
            if kind == "nodeAffinity":
                rules.append({"matchExpressions": [_expression(item) for item in selectors]})
            else:
                labels = {item.text("key"): item.text("value") for item in selectors}
                rules.append(compact(labelSelector={"matchLabels": labels}, topologyKey=topology))
    if preferred:
        term = "preference" if kind == "nodeAffinity" else "podAffinityTerm"
        return {"preferredDuringSchedulingIgnoredDuringExecution": [{"weight": weight, term: rule} for rule in rules]}
    key = "requiredDuringSchedulingIgnoredDuringExecution"
    return {key: {"nodeSelectorTerms": rules} if kind == "nodeAffinity" else rules}


def _expression(section: PillarSection) -> Object:
    with section:
        return compact(key=section.text("key"), operator=section.text("operator"), values=section.words("values"))
