"""Which values of which nodes differ between two trees of one model."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from pillarbox.model.merge.model import Model
from pillarbox.model.merge.plain import same
from pillarbox.model.merge.rendered import Rendered
from pillarbox.system.errors import PillarboxError, raise_all


class DifferenceKind(StrEnum):
    """What happened to a value."""

    ADDED = "added"
    REMOVED = "removed"
    CHANGED = "changed"


@dataclass(frozen=True)
class Difference:
    """One value of one node; an empty path is the whole node.

    ``path`` starts with what it is a part of: ``parameters``, ``exports``, ``classes``, ``applications`` or
    ``environment``.
    """

    node: str
    kind: DifferenceKind
    path: tuple[str, ...]
    before: Any
    after: Any

    def as_dict(self) -> dict[str, Any]:
        """The difference as plain data."""
        return {
            "node": self.node,
            "kind": self.kind.value,
            "path": list(self.path),
            "before": self.before,
            "after": self.after,
        }


def diff(before: Model, after: Model, node: str | None = None) -> Iterator[Difference]:
    """What differs from ``before`` to ``after``, node by node, sorted by name; with ``node``, of that one only.

    A node whose files are the same in both is not rendered. Raises at the end, together, what does not render.
    """
    names = sorted({*before.sources.nodes, *after.sources.nodes}) if node is None else [node]
    errors: list[PillarboxError] = []
    for name in names:
        try:
            yield from _node(before, after, name)
        except PillarboxError as error:
            errors.append(error)
    raise_all(errors)


def _node(before: Model, after: Model, name: str) -> Iterator[Difference]:
    if name not in before.sources.node_files and name not in after.sources.node_files:
        after.merger.node_entity(name)
    if name not in before.sources.node_files:
        yield Difference(name, DifferenceKind.ADDED, (), None, _data(after.render(name)))
    elif name not in after.sources.node_files:
        yield Difference(name, DifferenceKind.REMOVED, (), _data(before.render(name)), None)
    elif before.fingerprint(name) != after.fingerprint(name):
        old, new = _data(before.render(name)), _data(after.render(name))
        for section in old:
            yield from _values(name, (section,), old[section], new[section])


def _data(rendered: Rendered) -> dict[str, Any]:
    return {
        "environment": rendered.environment,
        "classes": list(rendered.classes),
        "applications": list(rendered.applications),
        "parameters": rendered.parameters,
        "exports": rendered.exports,
    }


def _values(node: str, path: tuple[str, ...], old: Any, new: Any) -> Iterator[Difference]:
    if isinstance(old, dict) and isinstance(new, dict):
        for key in {**old, **new}:
            below = (*path, str(key))
            if key not in new:
                yield Difference(node, DifferenceKind.REMOVED, below, old[key], None)
            elif key not in old:
                yield Difference(node, DifferenceKind.ADDED, below, None, new[key])
            else:
                yield from _values(node, below, old[key], new[key])
    elif not same(old, new):
        yield Difference(node, DifferenceKind.CHANGED, path, old, new)
