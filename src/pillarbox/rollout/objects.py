"""Kubernetes objects as plain data: what identifies one, what counts as the same."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pillarbox.manifests import kinds
from pillarbox.manifests.kinds import Kind

Object = dict[str, Any]

MANAGED_BY = "app.kubernetes.io/managed-by"
DEPLOYMENT = "app.kubernetes.io/part-of"

#: Set by the API server or by controllers, never by a manifest.
_SERVER_METADATA = ("managedFields", "resourceVersion", "generation", "uid", "creationTimestamp", "selfLink")
#: Counters that controllers write beside the user's own annotations.
_SERVER_ANNOTATIONS = ("deployment.kubernetes.io/revision", "deprecated.daemonset.template.generation")


@dataclass(frozen=True, order=True)
class ObjectRef:
    """Which object is meant: unique in a cluster. ``namespace`` is empty for objects that have none."""

    api_version: str
    kind: str
    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind} {self.namespace}/{self.name}" if self.namespace else f"{self.kind} {self.name}"

    @property
    def group(self) -> str:
        """The API group, without the version: objects of one group are the same in each of its versions."""
        return kinds.group(self.api_version)

    @property
    def type(self) -> Kind:
        """What is known of the object's kind."""
        return kinds.find(self.api_version, self.kind)

    @property
    def same(self) -> tuple[str, str, str, str]:
        """The identity that survives a change of API version."""
        return (self.group, self.kind, self.namespace, self.name)


def ref(obj: Mapping[str, Any]) -> ObjectRef:
    """The identity that ``obj`` claims."""
    metadata = obj.get("metadata") or {}
    return ObjectRef(obj["apiVersion"], obj["kind"], metadata.get("namespace") or "", metadata["name"])


def meaning(obj: Mapping[str, Any]) -> Object:
    """``obj`` without what the server and its controllers keep in it: equal meanings need no write."""
    kept = {key: copy.deepcopy(value) for key, value in obj.items() if key != "status"}
    metadata = {key: value for key, value in (kept.get("metadata") or {}).items() if key not in _SERVER_METADATA}
    annotations = {
        key: value for key, value in (metadata.get("annotations") or {}).items() if key not in _SERVER_ANNOTATIONS
    }
    metadata.pop("annotations", None)
    if annotations:
        metadata["annotations"] = annotations
    kept["metadata"] = metadata
    return kept


def owned(obj: Mapping[str, Any], manager: str) -> Object | None:
    """The part of a live object that field manager ``manager`` applied, as a manifest; ``None`` if it applied nothing.

    This is what was last applied, according to the API server itself: it needs no store that could be lost. List items
    are found by the keys that managedFields names them by; atomic lists and maps count as a whole.
    """
    entry = _applied(obj, manager)
    if entry is None:
        return None
    taken = _take(obj, entry.get("fieldsV1") or {})
    taken["apiVersion"], taken["kind"] = obj["apiVersion"], obj["kind"]
    metadata = taken.setdefault("metadata", {})
    metadata["name"] = obj["metadata"]["name"]
    if obj["metadata"].get("namespace"):
        metadata["namespace"] = obj["metadata"]["namespace"]
    return dict(taken)


def applied_by(obj: Mapping[str, Any], manager: str) -> bool:
    """Whether field manager ``manager`` applied a live object, or any part of it."""
    return _applied(obj, manager) is not None


def _applied(obj: Mapping[str, Any], manager: str) -> Mapping[str, Any] | None:
    for entry in (obj.get("metadata") or {}).get("managedFields") or ():
        if entry.get("manager") == manager and entry.get("operation") == "Apply":
            found: Mapping[str, Any] = entry
            return found
    return None


def _take(value: Any, fields: Mapping[str, Any]) -> Any:
    steps = {key: deeper for key, deeper in fields.items() if key != "."}
    if not steps:
        return copy.deepcopy(value)
    if isinstance(value, Mapping):
        return {
            key[2:]: _take(value[key[2:]], deeper)
            for key, deeper in steps.items()
            if key.startswith("f:") and key[2:] in value
        }
    if isinstance(value, list):
        return [_take(item, deeper) for item in value for key, deeper in steps.items() if _names(key, item)]
    return copy.deepcopy(value)


def _names(key: str, item: Any) -> bool:
    if key.startswith("k:"):
        return isinstance(item, Mapping) and all(item.get(k) == v for k, v in json.loads(key[2:]).items())
    return key.startswith("v:") and bool(json.loads(key[2:]) == item)


def selector(labels: Mapping[str, str]) -> str:
    """``labels`` as the API's query parameter writes them."""
    return ",".join(f"{key}={value}" for key, value in sorted(labels.items()))
