"""What a CustomResourceDefinition defines."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pillarbox.manifests import kinds


@dataclass(frozen=True)
class Definition:
    """A kind that a CustomResourceDefinition adds to the cluster, and the versions in which it is served."""

    group: str
    kind: str
    namespaced: bool
    versions: tuple[str, ...]

    def defines(self, api_version: str, kind: str) -> bool:
        """Whether an object with this API version and kind is one of it, be that version served or not."""
        return (self.group, self.kind) == (kinds.group(api_version), kind)

    def serves(self, api_version: str, kind: str) -> bool:
        """Whether the cluster takes an object with this API version and kind once it has the definition."""
        return self.defines(api_version, kind) and api_version.rpartition("/")[2] in self.versions


def definition(obj: Mapping[str, Any]) -> Definition | None:
    """What ``obj`` defines; ``None`` for other objects, and for a definition that the API server will refuse."""
    if kinds.of(obj) is not kinds.DEFINITION:
        return None
    try:
        spec = obj["spec"]
        served = tuple(str(item["name"]) for item in spec["versions"] if item["served"])
        return Definition(str(spec["group"]), str(spec["names"]["kind"]), spec["scope"] == "Namespaced", served)
    except (KeyError, TypeError):
        return None
