"""What an explanation says: a value of one node, and every place that touched it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any


class Section(StrEnum):
    """The part of a file that a value stands in."""

    PARAMETERS = "parameters"
    EXPORTS = "exports"


class LayerAction(StrEnum):
    """What a place does to the value that the places before it made."""

    SETS = "sets"
    MERGES = "merges"
    EXTENDS = "extends"
    REPLACES = "replaces"
    OVERRIDES = "overrides"
    """By the prefix ``~``."""
    REMOVES = "removes"
    """By an override, or a scalar, above the value."""
    REFUSED = "refused"
    """The value is constant."""


@dataclass(frozen=True)
class ValueLayer:
    """One place that touched the value.

    ``class_name`` is ``None`` for the node's own file; ``chain`` are the classes that led to this one. ``effective``
    says whether the value is made of it.
    """

    file: str
    line: int | None
    class_name: str | None
    chain: tuple[str, ...]
    path: tuple[str, ...]
    written: Any
    action: LayerAction
    constant: bool
    effective: bool
    references: tuple[Explanation, ...] = ()


@dataclass(frozen=True)
class Explanation:
    """A value of one node and all that made it. ``error`` says why it has no value, if it has none.

    ``section`` is ``exports`` for what another node answered an inventory query with.
    """

    node: str
    path: tuple[str, ...]
    value: Any
    kind: str
    layers: tuple[ValueLayer, ...]
    error: str | None = None
    section: Section = Section.PARAMETERS
    repeated: bool = False
    """Whether its layers stand in an earlier place of the same explanation."""

    @property
    def winner(self) -> ValueLayer | None:
        """The layer that a scalar comes from; for mappings and lists, the last that contributes."""
        return next((layer for layer in reversed(self.layers) if layer.effective), None)

    def as_dict(self) -> dict[str, Any]:
        """The explanation as plain data."""
        return {
            "node": self.node,
            "section": self.section.value,
            "path": list(self.path),
            "value": self.value,
            "error": self.error,
            "repeated": self.repeated,
            "layers": [
                {
                    "file": layer.file,
                    "line": layer.line,
                    "class": layer.class_name,
                    "through": list(layer.chain),
                    "path": list(layer.path),
                    "written": layer.written,
                    "action": layer.action.value,
                    "constant": layer.constant,
                    "effective": layer.effective,
                    "references": [each.as_dict() for each in layer.references],
                }
                for layer in self.layers
            ],
        }
