"""The places of a model that set a parameter, or that write a value."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from pillarbox.model.ask.explanation import Section
from pillarbox.model.errors import ModelError
from pillarbox.model.merge.model import Model
from pillarbox.model.read import yaml11
from pillarbox.system.errors import PillarboxError


@dataclass(frozen=True)
class Occurrence:
    """One place that sets ``value`` at ``path``, which is without the prefixes of its keys."""

    file: str
    line: int | None
    section: Section
    path: tuple[str, ...]
    value: Any


def where(model: Model, wanted: str, node: str | None = None) -> tuple[Occurrence, ...]:
    """Every place that sets the parameter at the path ``wanted``, or that writes the value ``wanted``.

    ``wanted`` may hold ``*`` and ``?``. With ``node``, only the files that this node uses are searched. Files that do
    not parse are left out; checking the model names them. Raises :class:`ModelError` for an unknown node.
    """
    if not wanted:
        raise ModelError("expected a path or a value to look for, found nothing")
    if node is None:
        files = sorted({*model.sources.class_files.values(), *model.sources.node_files.values()})
    else:
        files = [step.entity.file for step in model.merged(node).state.steps]
    matcher = _Matcher(model, wanted)
    found: list[Occurrence] = []
    for file in files:
        try:
            data = yaml11.load(model.sources.tree.read(file), file)
        except PillarboxError:
            continue
        if not isinstance(data, dict):
            continue
        for section in Section:
            for raw, path, value in matcher.search(data.get(section), (), (), 0):
                found.append(Occurrence(file, model.lines.line(file, (section, *raw)), section, path, value))
    return tuple(found)


class _Matcher:
    def __init__(self, model: Model, wanted: str) -> None:
        self.wanted = wanted
        self.delimiter = model.settings.delimiter
        self.prefixes = model.settings.prefixes
        self.glob = any(character in wanted for character in "*?[")

    def search(
        self, value: Any, raw: tuple[Any, ...], path: tuple[str, ...], depth: int
    ) -> Iterator[tuple[tuple[Any, ...], tuple[str, ...], Any]]:
        if depth and self.matches(self.delimiter.join(path)):
            yield raw, path, value
            return
        if isinstance(value, dict):
            for key, child in value.items():
                text = str(key)
                bare = text[1:] if text[:1] in self.prefixes else text
                yield from self.search(child, (*raw, key), (*path, bare), depth + 1)
        elif isinstance(value, list):
            for number, child in enumerate(value):
                yield from self.search(child, (*raw, number), (*path, str(number)), depth + 1)
        elif depth and self.matches(str(value)):
            yield raw, path, value

    def matches(self, text: str) -> bool:
        return fnmatchcase(text, self.wanted) if self.glob else text == self.wanted
