"""From merged layers to plain data: references, inventory queries, overrides and constants of one node.

Rendering is lazy. A reference to a mapping needs only the mapping's own layers, not all that stands in it, so values
may refer to neighbours of what refers to them; only a value that needs itself is a cycle.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from pillarbox.model import limits
from pillarbox.model.merge.cells import (
    CONTAINERS,
    DICTS,
    LAZY,
    LISTS,
    OPEN,
    Automatic,
    Flagged,
    Layers,
    OpenDict,
    OpenList,
    Template,
    weight,
    without_flags,
)
from pillarbox.model.merge.combine import Weights, combine
from pillarbox.model.merge.plain import expanded_size
from pillarbox.model.merge.problems import ConstantChanged, Cycle, Problem, TooLarge, Unresolved
from pillarbox.model.merge.query import Query
from pillarbox.model.merge.template import Part, Reference, Syntax
from pillarbox.model.read.settings import Settings


class Queries(Protocol):
    """What answers inventory queries."""

    def answer(self, query: Query, own: Callable[[tuple[str, ...]], Any]) -> Any: ...


class _Running:
    pass


_RUNNING: Any = _Running()


class Renderer:
    """Renders the values of one node. ``root`` are the merged parameters that references look into."""

    def __init__(
        self,
        root: dict[str, Any],
        automatic: dict[str, Any],
        settings: Settings,
        syntax: Syntax,
        queries: Queries | None = None,
    ) -> None:
        self.root = root
        self.automatic = automatic
        self.settings = settings
        self.syntax = syntax
        self.queries = queries
        self.problems: list[Problem] = []
        self.warnings: list[Problem] = []
        self.used_automatic = False
        self.shares = False
        """Whether a reference put a mapping or list into a second place."""
        self._known: dict[int, Any] = {}
        self._plain: dict[int, Any] = {}
        self._stack: list[Any] = []
        self._trail: list[Any] = []
        self._kept: list[Any] = []
        self._weights = Weights()

    def render(self, section: dict[str, Any]) -> dict[str, Any]:
        """``section`` as plain data. What does not render is ``None``, and its reason is among ``problems``."""
        try:
            result: dict[str, Any] = self.plain(section)
            if self.shares and expanded_size(result) > limits.VALUES:
                self.record(TooLarge(f"references make it more than {limits.VALUES} values"))
        except RecursionError:
            self._trail.clear()
            self.record(TooLarge("values and references nest too deep"))
            return {}
        return result

    def at(self, path: tuple[str, ...], reference: str | None = None, root: dict[str, Any] | None = None) -> Any:
        """The value at ``path`` of the parameters, its own layers put together. Raises :class:`Problem`.

        ``root`` is another section to look into.
        """
        current: Any = self.root if root is None else root
        for number, part in enumerate(path):
            kind_of = type(current)
            if kind_of in LAZY:
                current = self._located(current, path, number)
                kind_of = type(current)
            if kind_of in DICTS:
                try:
                    current = current[part]
                except KeyError:
                    plain = part.replace("\\" + self.syntax.delimiter, self.syntax.delimiter)
                    if plain not in current:
                        raise self._unresolved(path, number, reference, current) from None
                    current = current[plain]
            elif kind_of in LISTS:
                try:
                    current = current[int(part)]
                except (ValueError, IndexError):
                    raise self._unresolved(path, number, reference, current) from None
            else:
                raise self._unresolved(path, number, reference, current)
        if type(current) in LAZY:
            current = self._located(current, path, len(path))
        return current

    def value(self, cell: Any) -> Any:
        """``cell`` with its own layers put together; what stands in a mapping or list may still be open."""
        if type(cell) not in LAZY:
            return cell
        key = id(cell)
        known = self._known.get(key, self)
        if known is self:
            self._known[key] = _RUNNING
            self._stack.append(cell)
            try:
                known = self._evaluate(cell)
            except Problem as problem:
                self._known[key] = problem
                raise
            except BaseException:
                del self._known[key]
                raise
            finally:
                self._stack.pop()
            self._known[key] = known
        elif known is _RUNNING:
            raise self._cycle(cell)
        elif isinstance(known, Problem):
            raise known
        return known

    def plain(self, value: Any) -> Any:
        """``value`` and all that stands in it as plain data; problems are recorded, not raised."""
        kind_of = type(value)
        if kind_of in LAZY:
            try:
                return self.plain(self.value(value))
            except Problem as problem:
                self.record(problem)
                return None
        if kind_of is not OpenDict and kind_of is not OpenList:
            return value
        key = id(value)
        known = self._plain.get(key, self)
        if known is _RUNNING:
            raise Cycle("the value contains itself through a reference")
        if known is not self:
            return known
        self._plain[key] = _RUNNING
        result: Any
        try:
            if kind_of is OpenDict:
                result = {}
                for name, child in value.items():
                    result[name] = self._child(name, child) if type(child) in OPEN else child
            else:
                result = [
                    self._child(number, child) if type(child) in OPEN else child for number, child in enumerate(value)
                ]
        except BaseException:
            del self._plain[key]
            raise
        self._plain[key] = result
        # Keeps the container alive as long as its id is a key.
        self._kept.append(value)
        return result

    def record(self, problem: Problem) -> None:
        """Keep a problem, once."""
        if problem.path is None:
            problem.path = tuple(self._trail)
        if not problem.recorded:
            problem.recorded = True
            self.problems.append(problem)

    def _child(self, name: Any, child: Any) -> Any:
        self._trail.append(name)
        try:
            return self.plain(self.value(child))
        except Problem as problem:
            self.record(problem)
            return None
        finally:
            self._trail.pop()

    def _located(self, cell: Any, path: tuple[str, ...], count: int) -> Any:
        try:
            return self.value(cell)
        except Problem as problem:
            if problem.path is None:
                problem.path = path[:count]
            raise

    def _evaluate(self, cell: Any) -> Any:
        kind_of = type(cell)
        if kind_of is Template:
            try:
                if cell.single is not None:
                    found = self.at(cell.single)
                    if type(found) in CONTAINERS:
                        self.shares = True
                    return found
                parts = cell.parts
                if len(parts) == 1:
                    self.shares = True
                    return self._part(parts[0])
                return self._text(parts)
            except Problem as problem:
                if problem.template is None:
                    problem.template = cell
                raise
        if kind_of is Layers:
            return self._fold(cell.cells)
        if kind_of is Flagged:
            return self.value(cell.cell)
        assert kind_of is Automatic
        self.used_automatic = True
        return self.automatic

    def _part(self, part: Part) -> Any:
        if isinstance(part, str):
            return part
        if isinstance(part, Reference):
            path = part.path
            if path is None:
                text = self._text(part.parts)
                path = self.syntax.split(text)
            else:
                text = part.text
            return self.at(path, text)
        return self.ask(part)

    def ask(self, query: Query) -> Any:
        """What an inventory query answers. Raises :class:`Problem`."""
        if self.queries is None:
            raise Problem(
                f"the inventory query {query.text} cannot be answered here",
                hint="Exports, and class names, cannot depend on inventory queries.",
            )
        return self.queries.answer(query, lambda path: self.plain(self.at(path)))

    def text(self, parts: tuple[Part, ...]) -> str:
        """The string that ``parts`` make. Raises :class:`Problem`."""
        return self._text(parts)

    def _text(self, parts: tuple[Part, ...]) -> str:
        text = "".join(part if isinstance(part, str) else str(self.plain(self._part(part))) for part in parts)
        if len(text) > limits.STRING:
            raise TooLarge(f"references make a string of more than {limits.STRING} characters")
        return text

    def _fold(self, cells: tuple[Any, ...]) -> Any:
        settings = self.settings
        output: Any = None
        size = 0
        missing: Unresolved | None = None
        constant = False
        last = len(cells) - 1
        for number, cell in enumerate(cells):
            overwrite = fixed = False
            if type(cell) is Flagged:
                overwrite, fixed = cell.overwrite, cell.constant
                cell = cell.cell
            try:
                new = self.value(cell)
            except Unresolved as problem:
                ignored = settings.ignore_overwritten_missing_references
                if not ignored or type(output) in CONTAINERS or number == last:
                    raise
                new, missing = None, problem
                self.warnings.append(problem)
            if constant:
                if settings.strict_constant_parameters:
                    raise ConstantChanged("an earlier layer made this value constant")
                continue
            if type(cell) is Template and type(new) is OpenDict:
                new = without_flags(new)
            if output is None or overwrite:
                output, size = new, 0
            elif type(output) in CONTAINERS and type(new) in CONTAINERS:
                size = self._weights.both(size or self._weights.of(output), self._weights.of(new))
                output = combine(output, new, settings)
                if size > limits.VALUES:
                    size = self._weights.both(weight(output), 0)
            else:
                output, size = combine(output, new, settings), 0
            constant = fixed
        if missing is not None and type(output) in CONTAINERS:
            raise missing
        return output

    def _unresolved(self, path: tuple[str, ...], number: int, reference: str | None, container: Any) -> Unresolved:
        known = [str(key) for key in container] if type(container) in DICTS else []
        return Unresolved(reference or self.syntax.delimiter.join(path), path[: number + 1], known)

    def _cycle(self, cell: Any) -> Cycle:
        start = next(number for number, each in enumerate(self._stack) if each is cell)
        texts = [each.text for each in self._stack[start:] if type(each) is Template]
        return Cycle("references form a cycle: " + " -> ".join([*texts, *texts[:1]]))
