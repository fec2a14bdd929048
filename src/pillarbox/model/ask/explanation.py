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
    choices: tuple[ClassChoice, ...] = ()
    """How the classes that led here came to be chosen, those with references in their names; of effective layers."""

    def as_dict(self) -> dict[str, Any]:
        """The layer as plain data."""
        return {
            "file": self.file,
            "line": self.line,
            "class": self.class_name,
            "through": list(self.chain),
            "path": list(self.path),
            "written": self.written,
            "action": self.action.value,
            "constant": self.constant,
            "effective": self.effective,
            "references": [each.as_dict() for each in self.references],
            "choices": [each.as_dict() for each in self.choices],
        }


@dataclass(frozen=True)
class ClassChoice:
    """A class that came by an entry with references, ``written``, in the ``classes`` list of ``file``.

    ``references`` explain the parameters that chose it, as they were when the entry was read.
    """

    class_name: str
    written: str
    file: str
    line: int | None
    references: tuple[Explanation, ...]
    repeated: bool = False
    """Whether its references stand in an earlier place of the same explanation."""

    def as_dict(self) -> dict[str, Any]:
        """The choice as plain data."""
        return {
            "class": self.class_name,
            "written": self.written,
            "file": self.file,
            "line": self.line,
            "repeated": self.repeated,
            "references": [each.as_dict() for each in self.references],
        }


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

    @property
    def origin(self) -> ValueLayer | None:
        """The layer where a scalar is written out: the winner, or where the one reference in it leads."""
        found = self.winner
        if found is not None and len(found.references) == 1:
            return found.references[0].origin or found
        return found

    def as_dict(self) -> dict[str, Any]:
        """The explanation as plain data."""
        return {
            "node": self.node,
            "section": self.section.value,
            "path": list(self.path),
            "value": self.value,
            "error": self.error,
            "repeated": self.repeated,
            "layers": [layer.as_dict() for layer in self.layers],
        }
