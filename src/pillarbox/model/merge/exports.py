"""What nodes export, and the inventory queries that it answers."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from pillarbox.model.merge.cells import LAZY, OPEN, Flagged, Layers, OpenDict, OpenList, Template
from pillarbox.model.merge.merger import Merger
from pillarbox.model.merge.problems import Problem
from pillarbox.model.merge.query import MISSING, Query, lookup
from pillarbox.model.merge.render import Renderer
from pillarbox.system.errors import PillarboxError, raise_all


class Failed:
    """An export that does not render, and why."""

    def __init__(self, problem: Problem, node: str) -> None:
        self.problem = problem
        self.node = node


class Exports:
    """The exports of all nodes, rendered when the first query asks for them. Safe to use from several threads."""

    def __init__(self, merger: Merger) -> None:
        self.merger = merger
        self._lock = threading.RLock()
        self._known: dict[str, tuple[str, dict[str, Any]]] | None = None

    def all(self) -> dict[str, tuple[str, dict[str, Any]]]:
        """Environment and exports of every node; what does not render is a :class:`Failed`."""
        with self._lock:
            if self._known is None:
                self._known = self._render()
            return self._known

    def _render(self) -> dict[str, tuple[str, dict[str, Any]]]:
        merger = self.merger
        found: dict[str, tuple[str, dict[str, Any]]] = {}
        errors: list[PillarboxError] = []
        for name, file in sorted(merger.sources.node_files.items()):
            try:
                merged = merger.merged(name)
            except PillarboxError as error:
                if not (merger.settings.inventory_ignore_failed_node and error.file == file):
                    errors.append(error)
                continue
            data = _tolerant(merger.renderer(merged), merged.state.exports, name)
            found[name] = (merged.environment, data)
        raise_all(errors)
        return found


class Answers:
    """Answers the inventory queries of one node, which stands in ``environment``."""

    def __init__(self, exports: Exports, environment: str) -> None:
        self.asked = False
        self._exports = exports
        self._environment = environment

    def answer(self, query: Query, own: Callable[[tuple[str, ...]], Any]) -> Any:
        self.asked = True
        merger = self._exports.merger
        ignore = query.ignore_errors
        if ignore is None:
            ignore = merger.settings.inventory_ignore_failed_render
        values: dict[str, Any] = {}
        names: list[str] = []
        try:
            exports = self._exports.all()
        except PillarboxError as error:
            raise Problem(f"the inventory query {query.text} cannot be answered: {error}") from error
        for node, (environment, data) in exports.items():
            if environment != self._environment and not query.all_environments:
                continue
            failure = next((found for path in query.paths() if (found := _failure(data, path))), None)
            if failure is not None:
                if ignore:
                    continue
                why = merger.reporter.problem(merger.merged(failure.node), failure.problem)
                raise Problem(
                    f"the inventory query {query.text} needs an export of node {failure.node} that does not render: "
                    f"{why.place}: {why.message}",
                    hint="+IgnoreErrors leaves such nodes out.",
                )
            if not query.accepts(data, own):
                continue
            if query.value is None:
                names.append(node)
            elif (value := lookup(data, query.value)) is not MISSING:
                values[node] = value
        return names if query.value is None else values


def asks(*cells: Any) -> bool:
    """Whether an inventory query stands anywhere in these merged layers."""
    seen: set[int] = set()

    def found(cell: Any) -> bool:
        kind_of = type(cell)
        if kind_of not in OPEN or id(cell) in seen:
            return False
        seen.add(id(cell))
        if kind_of is Template:
            return any(isinstance(part, Query) for part in cell.parts)
        if kind_of is OpenDict:
            return any(map(found, cell.values()))
        if kind_of is OpenList:
            return any(map(found, cell))
        if kind_of is Layers:
            return any(map(found, cell.cells))
        return kind_of is Flagged and found(cell.cell)

    return any(map(found, cells))


def _failure(data: Any, path: tuple[str, ...]) -> Failed | None:
    for part in path:
        if isinstance(data, Failed):
            return data
        data = lookup(data, (part,))
        if data is MISSING:
            return None
    return _inside(data)


def _inside(data: Any) -> Failed | None:
    if isinstance(data, Failed):
        return data
    children = data.values() if isinstance(data, dict) else data if isinstance(data, list) else ()
    return next((found for child in children if (found := _inside(child))), None)


def _tolerant(renderer: Renderer, section: dict[str, Any], node: str) -> dict[str, Any]:
    """Exports as plain data, each problem left at its place."""

    def plain(value: Any, depth: int) -> Any:
        if depth > 200:
            return Failed(Problem("values and references nest too deep"), node)
        if type(value) in LAZY:
            try:
                return plain(renderer.value(value), depth + 1)
            except Problem as problem:
                return Failed(problem, node)
        if type(value) is OpenDict:
            return {key: plain(child, depth + 1) for key, child in value.items()}
        if type(value) is OpenList:
            return [plain(child, depth + 1) for child in value]
        return value

    return {key: plain(value, 0) for key, value in section.items()}
