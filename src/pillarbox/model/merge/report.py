"""Errors as people read them: node, parameter, reference, the file and line that wrote it, and the nearest name."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pillarbox.model.errors import ModelError
from pillarbox.model.keep.sources import Sources
from pillarbox.model.merge.cells import Template
from pillarbox.model.merge.entity import Located
from pillarbox.model.merge.layering import ClassMissing, ClassNameProblem, ClassProblem, Merged, MergeStep
from pillarbox.model.merge.problems import ConstantChanged, Cycle, Problem, TypeConflict, Unresolved
from pillarbox.model.merge.query import lookup
from pillarbox.model.merge.template import Part, Reference
from pillarbox.model.read.settings import Settings
from pillarbox.system.errors import PillarboxError
from pillarbox.system.names import did_you_mean


class Reporter:
    """Puts places and hints to errors; works only when there are any."""

    def __init__(self, sources: Sources, settings: Settings) -> None:
        self.sources = sources
        self.settings = settings
        self.lines = sources.lines

    def error(self, node: str, error: PillarboxError) -> PillarboxError:
        """A copy of ``error`` for one node, with its line where that can be known."""
        line, hint, message = error.line, error.hint, error.message
        if isinstance(error, Located) and error.file:
            line = self.lines.line(error.file, error.path)
        elif isinstance(error, ClassProblem) and error.file:
            line = self.lines.class_entry(error.file, error.use.name)
            if isinstance(error, ClassMissing):
                message = f"{error.message}, asked for by node {node}"
                if error.use.name != error.name:
                    message = f"class {error.name} (from {error.use.name}) does not exist, asked for by node {node}"
                near = did_you_mean(error.name, self.sources.class_files)
                set_at = self._settings(error.use.parts or (), error.steps, set())
                hint = " ".join([*([near] if near else []), *set_at]) or None
            elif isinstance(error, ClassNameProblem):
                message = f"{error.message} for node {node}"
                if isinstance(error.problem, Unresolved):
                    message += f": {self._reference(error.problem)} does not exist so far"
                    hint = self._nearest(error.problem)
                else:
                    message += f": {error.problem.message}"
                if template := error.problem.template:
                    written = self.settings.delimiter.join(map(str, self._bare(template.path[1:])))
                    number = self.lines.line(template.file, template.path)
                    message += f" (from {written}, {template.file}:{number})"
        return ModelError(message, node=node, file=error.file, line=line, hint=hint)

    def problem(self, merged: Merged, problem: Problem) -> ModelError:
        """A rendering problem of one node."""
        delimiter = self.settings.delimiter
        template = problem.template
        path = problem.path or ()
        file = line = None
        if template is not None:
            file = template.file
            line = self.lines.line(file, template.path)
            if not path or isinstance(problem, Cycle):
                path = self._bare(template.path[1:])
        place = f"parameter {delimiter.join(map(str, path))} of node {merged.name}"
        hint = problem.hint
        if isinstance(problem, Unresolved):
            message = f"reference {self._reference(problem)} in {place} does not resolve"
            hint = self._nearest(problem)
        elif isinstance(problem, (TypeConflict, ConstantChanged)):
            layers = self._layers(merged, tuple(map(str, path)))
            message = f"{place}: {problem.message}"
            if layers:
                file, line = layers[-1]
                where = ", ".join(f"{name}:{number}" for name, number in layers[:-1])
                hint = f"Earlier layers: {where}." if where else None
        else:
            message = f"{place}: {problem.message}" if path else f"node {merged.name}: {problem.message}"
        if file is None:
            file, line = self.place(merged, tuple(map(str, path)))
        return ModelError(message, node=merged.name, file=file, line=line, hint=hint)

    def _reference(self, problem: Unresolved) -> str:
        opened, closed = self.settings.reference_sentinels
        return f"{opened}{problem.reference}{closed}"

    def _nearest(self, problem: Unresolved) -> str | None:
        if not problem.missing:
            return None
        prefix = self.settings.delimiter.join((*map(str, problem.missing[:-1]), ""))
        return did_you_mean(str(problem.missing[-1]), problem.known, prefix=prefix)

    def _settings(self, parts: tuple[Part, ...], steps: tuple[MergeStep, ...], seen: set[str]) -> Iterator[str]:
        """Where the parameters in the name of a class were set by the time it was read, and what they refer to."""
        for part in parts:
            if not isinstance(part, Reference) or part.text in seen:
                continue
            seen.add(part.text)
            if part.path is None:
                yield from self._settings(part.parts, steps, seen)
                continue
            lines = ((step, self.lines.setting(step.entity.file, part.path)) for step in reversed(steps))
            step, line = next(((step, line) for step, line in lines if line is not None), (None, None))
            if step is not None:
                yield f"{part.text} is set in {step.entity.file}:{line}."
                cell = lookup(step.entity.parameters, part.path)
                if type(cell) is Template:
                    yield from self._settings(cell.parts, steps, seen)

    def _bare(self, path: tuple[Any, ...]) -> tuple[Any, ...]:
        """A path in a file without the prefixes of its keys."""
        prefixes = self.settings.prefixes
        return tuple(key[1:] if isinstance(key, str) and key[:1] in prefixes else key for key in path)

    def place(self, merged: Merged, path: tuple[str, ...]) -> tuple[str, int | None]:
        """The file and line that set the value at ``path`` last, or what is nearest above it."""
        for count in range(len(path), 0, -1):
            layers = self._layers(merged, path[:count])
            if layers:
                return layers[-1]
        return merged.entity.file, None

    def _layers(self, merged: Merged, path: tuple[str, ...]) -> list[tuple[str, int]]:
        """Files and lines that set the value at ``path``, in merge order."""
        files = (step.entity.file for step in merged.state.steps)
        return [(file, line) for file in files if (line := self.lines.setting(file, path)) is not None]
