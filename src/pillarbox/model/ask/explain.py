"""Where a value comes from: every layer that touched it, in merge order, and what its references and queries led to.

The fast path keeps no record of this. An explanation walks the node's files again and reads their lines again.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from pillarbox.model.ask.explanation import ClassChoice, Explanation, LayerAction, Section, ValueLayer
from pillarbox.model.ask.touches import AUTOMATIC, Touch, templates, touches, written
from pillarbox.model.errors import ModelError
from pillarbox.model.merge.cells import DICTS, LISTS, OpenDict, OpenList, Template
from pillarbox.model.merge.entity import kind
from pillarbox.model.merge.layering import Choice, Merged
from pillarbox.model.merge.model import Model
from pillarbox.model.merge.problems import Problem
from pillarbox.model.merge.query import MISSING, Query, lookup
from pillarbox.model.merge.render import Renderer
from pillarbox.model.merge.template import Part, Reference
from pillarbox.system.names import did_you_mean

MAX_DEPTH = 12
"""How many references, and choices of classes, are followed, one into the next."""


def explain(model: Model, node: str, path: str) -> Explanation:
    """Explain the parameter at ``path`` (keys joined by the delimiter, ``:``) of one node.

    Raises :class:`ModelError` when the node's files or classes are wrong, or when no layer knows the path.
    """
    merged = model.merged(node)
    job = _Explainer(model, merged)
    keys = model.merger.compiler.syntax.split(path)
    found = job.explain(keys, 0)
    if not found.layers and found.error is not None:
        raise ModelError(f"node {node} has no parameter {path}", node=node, hint=job.hint(keys))
    return found


@dataclass
class _Memory:
    """What one explanation has shown and looked up so far."""

    values: set[tuple[str, Section, tuple[str, ...], int]] = field(default_factory=set)
    """Explained values: node, section, path, and how many of the node's files were merged by then."""
    classes: set[tuple[str, str]] = field(default_factory=set)
    """Nodes and classes whose choice is explained."""
    choices: dict[str, dict[str, Choice]] = field(default_factory=dict)
    """Nodes, with the classes that references chose for them."""


@dataclass
class _Explainer:
    """Explains values of one section of one node."""

    model: Model
    merged: Merged
    section: Section = Section.PARAMETERS
    memory: _Memory = field(default_factory=_Memory)
    renderer: Renderer = field(init=False)

    def __post_init__(self) -> None:
        self.renderer = self.model.lenient(self.merged)
        self.root = self.merged.state.exports if self.section is Section.EXPORTS else self.merged.state.parameters
        self.syntax = self.model.merger.compiler.syntax

    def hint(self, keys: tuple[str, ...]) -> str | None:
        for count in range(len(keys) - 1, -1, -1):
            try:
                container = self.at(keys[:count])
            except Problem:
                continue
            if type(container) in DICTS:
                prefix = self.syntax.delimiter.join((*keys[:count], ""))
                return did_you_mean(keys[count], map(str, container), prefix=prefix)
        return None

    def at(self, path: tuple[str, ...]) -> Any:
        return self.renderer.at(path, root=self.root)

    def explain(self, path: tuple[str, ...], depth: int) -> Explanation:
        value, error = self.value(path)
        place = (self.merged.name, self.section, path, len(self.merged.state.steps))
        if place in self.memory.values:
            return Explanation(self.merged.name, path, value, kind(value), (), error, self.section, repeated=True)
        self.memory.values.add(place)
        count = self.list_above(path)
        found = self.layers(path, depth) if count is None else self.item(path, count, depth)
        layers = tuple(replace(layer, choices=tuple(self.choices(layer, depth))) for layer in found)
        return Explanation(self.merged.name, path, value, kind(value), layers, error, self.section)

    def value(self, path: tuple[str, ...]) -> tuple[Any, str | None]:
        before = len(self.renderer.problems)
        try:
            value = self.renderer.plain(self.at(path))
        except Problem as problem:
            return None, self.model.reporter.problem(self.merged, problem).message
        if len(self.renderer.problems) > before:
            return value, self.model.reporter.problem(self.merged, self.renderer.problems[before]).message
        return value, None

    def layers(self, path: tuple[str, ...], depth: int) -> list[ValueLayer]:
        out: list[ValueLayer] = []
        held: str | None = None
        constant = False
        for touch in self.touches(path):
            at_value = touch.depth == len(path)
            above = path[: touch.depth]
            shown = self.kind_of(touch, path)
            if constant:
                action = LayerAction.REFUSED
            elif touch.overwrite and held is not None:
                action = LayerAction.OVERRIDES if at_value or shown is not None else LayerAction.REMOVES
                self.reset(out)
            elif held is None or held == "null":
                action = LayerAction.SETS
                if shown is None:
                    continue
            elif shown is None:
                action = LayerAction.REMOVES
                self.reset(out)
            elif held == shown == "a mapping":
                action = LayerAction.MERGES
            elif held == shown == "a list":
                action = LayerAction.EXTENDS
            else:
                action = LayerAction.REPLACES
                self.reset(out)
            effective = action not in (LayerAction.REMOVES, LayerAction.REFUSED)
            if effective:
                held = shown
            elif action == LayerAction.REMOVES:
                held = None
            constant = constant or (touch.constant and at_value)
            out.append(self.layer(touch, above, path, action, effective, depth))
        return out

    def list_above(self, path: tuple[str, ...]) -> int | None:
        """How many keys lead to the first list that ``path`` goes into."""
        for count in range(1, len(path)):
            try:
                if type(self.at(path[:count])) in LISTS:
                    return count
            except Problem:
                return None
        return None

    def item(self, path: tuple[str, ...], count: int, depth: int) -> list[ValueLayer]:
        """The layer that an item of a list, or what stands in it, comes from."""
        parts: list[tuple[Touch, int]] = []
        for touch in self.touches(path[:count]):
            try:
                value = self.renderer.value(touch.cell)
                for key in path[touch.depth : count]:
                    value = self.renderer.value(value[key]) if type(value) in DICTS and key in value else None
            except Problem:
                continue
            if touch.overwrite or type(value) not in LISTS:
                parts.clear()
            if type(value) in LISTS:
                parts.append((touch, len(value)))
        try:
            index = int(path[count])
        except ValueError:
            return []
        if index < 0:
            index += sum(length for _, length in parts)
        for touch, length in parts:
            if index < length:
                return [self.item_layer(touch, path, count, index, depth)]
            index -= length
        return []

    def item_layer(self, touch: Touch, path: tuple[str, ...], count: int, index: int, depth: int) -> ValueLayer:
        cell = touch.cell
        # A reference may stand above the list.
        keys = (*path[touch.depth : count], str(index), *path[count + 1 :])
        used = 0
        while type(cell) is not Template and used < len(keys):
            if type(cell) in LISTS:
                cell = cell[int(keys[used])]
            elif type(cell) in DICTS and keys[used] in cell:
                cell = cell[keys[used]]
            else:
                break
            used += 1
        references: list[Explanation] = []
        if type(cell) is Template and depth < MAX_DEPTH:
            references = list(self.origins(cell.parts, keys[used:], depth + 1))
        file, line = self.place(touch, (*path[: touch.depth], *keys[:used]))
        if type(cell) is Template:
            line = self.model.lines.line(cell.file, cell.path)
        step = touch.step
        return ValueLayer(
            file=file,
            line=line,
            class_name=step.name if step else None,
            chain=step.chain if step else (),
            path=path,
            written=written(cell),
            action=LayerAction.SETS,
            constant=touch.constant,
            effective=True,
            references=tuple(references),
        )

    def reset(self, layers: list[ValueLayer]) -> None:
        layers[:] = [replace(layer, effective=False) for layer in layers]

    def kind_of(self, touch: Touch, path: tuple[str, ...]) -> str | None:
        """The type that this layer gives the value at ``path``, or ``None`` when it gives it none."""
        rest = path[touch.depth :]
        try:
            value = self.renderer.value(touch.cell)
            for part in rest:
                if type(value) in DICTS:
                    if part not in value:
                        return None
                    value = self.renderer.value(value[part])
                elif type(value) in LISTS:
                    try:
                        value = self.renderer.value(value[int(part)])
                    except (ValueError, IndexError):
                        return None
                else:
                    return None
        except Problem:
            return "an error"
        if type(value) is OpenDict:
            return "a mapping"
        return "a list" if type(value) is OpenList else kind(value)

    def layer(
        self,
        touch: Touch,
        above: tuple[str, ...],
        path: tuple[str, ...],
        action: LayerAction,
        effective: bool,
        depth: int,
    ) -> ValueLayer:
        references: list[Explanation] = []
        cell = touch.cell
        rest = path[touch.depth :]
        if type(cell) is Template and depth < MAX_DEPTH:
            # Where the reference stands above the value, the value is what stands below the reference's target.
            references = list(self.origins(cell.parts, rest, depth + 1))
        elif not rest and type(cell) in (OpenDict, OpenList) and depth == 0:
            for inner in templates(cell):
                references += self.origins(inner.parts, (), depth + 1)
        file, line = self.place(touch, above)
        step = touch.step
        return ValueLayer(
            file=file,
            line=line,
            class_name=step.name if step else None,
            chain=step.chain if step else (),
            path=above,
            written=self.automatic(path) if step is None else written(cell),
            action=action,
            constant=touch.constant,
            effective=effective,
            references=tuple(references),
        )

    def automatic(self, path: tuple[str, ...]) -> Any:
        found = lookup(self.merged.automatic, path[1:])
        return None if found is MISSING else found

    def place(self, touch: Touch, path: tuple[str, ...]) -> tuple[str, int | None]:
        if touch.step is None:
            return AUTOMATIC, None
        file = touch.step.entity.file
        if type(touch.cell) is Template:
            return file, self.model.lines.line(file, touch.cell.path)
        return file, self.model.lines.setting(file, path, self.section)

    def origins(self, parts: tuple[Part, ...], rest: tuple[str, ...], depth: int) -> Iterator[Explanation]:
        """Where the references and queries of a string lead, the ones inside other references first.

        ``rest`` leads from their values to the one that is explained.
        """
        own = self
        if self.section is not Section.PARAMETERS:
            own = _Explainer(self.model, self.merged, Section.PARAMETERS, self.memory)
        for part in parts:
            if isinstance(part, Reference):
                yield from self.origins(part.parts, (), depth)
                try:
                    path = part.path if part.path is not None else self.syntax.split(self.renderer.text(part.parts))
                except Problem:
                    continue
                yield own.explain((*path, *rest), depth)
            elif isinstance(part, Query):
                for test in part.tests:
                    if test.own is not None:
                        yield own.explain(test.own, depth)
                yield from self.answers(part, rest, depth)

    def answers(self, query: Query, rest: tuple[str, ...], depth: int) -> Iterator[Explanation]:
        """The exports that make the answer of a query: of all nodes in it, or of the one that ``rest`` leads to."""
        try:
            answer = self.renderer.ask(query)
        except Problem:
            return
        nodes = list(answer)
        inside: tuple[str, ...] = ()
        if rest:
            nodes = [lookup(nodes, rest[:1])] if query.value is None else [rest[0]]
            inside = rest[1:]
        for node in nodes:
            if node in answer:
                job = _Explainer(self.model, self.model.merged(node), Section.EXPORTS, self.memory)
                for path in dict.fromkeys(query.paths()):
                    yield job.explain((*path, *inside) if path == query.value else path, depth)

    def choices(self, layer: ValueLayer, depth: int) -> Iterator[ClassChoice]:
        """How the classes that led to ``layer`` were chosen, where references in their names did."""
        if layer.class_name is None or not layer.effective or depth >= MAX_DEPTH:
            return
        node = self.merged.name
        if node not in self.memory.choices:
            self.memory.choices[node] = self.model.merger.choices(self.merged)
        for name in (*layer.chain, layer.class_name):
            choice = self.memory.choices[node].get(name)
            if choice is None:
                continue
            repeated = (node, name) in self.memory.classes
            self.memory.classes.add((node, name))
            origins: Iterable[Explanation] = ()
            if not repeated:
                earlier = replace(self.merged, state=choice.state)
                job = _Explainer(self.model, earlier, Section.PARAMETERS, self.memory)
                origins = job.origins(choice.use.parts or (), (), depth + 1)
            line = self.model.lines.class_entry(choice.file, choice.use.name)
            yield ClassChoice(name, choice.use.name, choice.file, line, tuple(origins), repeated)

    def touches(self, path: tuple[str, ...]) -> Iterator[Touch]:
        automatic = self.section is Section.PARAMETERS and self.model.settings.automatic_parameters
        if automatic and path[:1] == ("_reclass_",):
            cell = lookup(self.merged.automatic, path[1:])
            if cell is not MISSING:
                yield Touch(None, cell, len(path), False, False)
        yield from touches(self.merged, self.section, path)
