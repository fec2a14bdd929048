"""A node as it comes out of rendering."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Any, NamedTuple


class Rendered(NamedTuple):
    """One node, rendered. Its containers are shared with other nodes: copy before changing."""

    name: str
    file: str
    environment: str
    classes: tuple[str, ...]
    applications: tuple[str, ...]
    parameters: dict[str, Any]
    exports: dict[str, Any]
    warnings: tuple[str, ...]
    asked: bool = False
    """Whether inventory queries of this node were answered: then it depends on all nodes."""

    def row(self) -> list[Any]:
        """The node as the values that a cache keeps: what nodes have in common stands on its own."""
        return [
            self.environment,
            list(self.classes),
            list(self.applications),
            list(self.warnings),
            self.exports,
            list(self.parameters),
            *self.parameters.values(),
        ]

    @classmethod
    def of_row(cls, name: str, file: str, values: Iterator[Any]) -> Rendered:
        """The node of :meth:`row`."""
        environment, classes, applications, warnings, exports, keys = islice(values, 6)
        return cls(
            name=name,
            file=file,
            environment=environment,
            classes=tuple(classes),
            applications=tuple(applications),
            parameters=dict(zip(keys, values, strict=True)),
            exports=exports,
            warnings=tuple(warnings),
        )
