"""What the files of a node hold for one value, before it is known what comes of it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from pillarbox.model.ask.explanation import Section
from pillarbox.model.merge.cells import DICTS, LISTS, Automatic, Flagged, Layers, OpenDict, OpenList, Template
from pillarbox.model.merge.layering import Merged, MergeStep

AUTOMATIC = "(automatic)"


@dataclass
class Touch:
    """What one file holds: ``cell``, at the first ``depth`` keys of the path. ``step`` is ``None`` for what is set
    for every node."""

    step: MergeStep | None
    cell: Any
    depth: int
    overwrite: bool
    constant: bool


def touches(merged: Merged, section: Section, path: tuple[str, ...]) -> Iterator[Touch]:
    """What every file of the node holds for ``path``, in merge order."""
    for step in merged.state.steps:
        data = step.entity.exports if section is Section.EXPORTS else step.entity.parameters
        yield from _within(step, data, path, 0, False, False)


def _within(
    step: MergeStep, cell: Any, path: tuple[str, ...], depth: int, overwrite: bool, constant: bool
) -> Iterator[Touch]:
    """What one file holds for ``path``, seen from ``cell`` at the path's first ``depth`` keys."""
    kind_of = type(cell)
    if kind_of is Flagged:
        yield from _within(step, cell.cell, path, depth, cell.overwrite, cell.constant or constant)
    elif kind_of is Layers:
        for each in cell.cells:
            yield from _within(step, each, path, depth, False, constant)
    elif depth == len(path):
        yield Touch(step, cell, depth, overwrite, constant)
    elif kind_of in DICTS:
        if overwrite:
            # All that earlier layers set below goes, whether this one sets something or not.
            yield Touch(step, cell, depth, True, constant)
        elif path[depth] in cell:
            yield from _within(step, cell[path[depth]], path, depth + 1, False, constant)
    elif kind_of in LISTS or kind_of is Template or depth:
        yield Touch(step, cell, depth, overwrite, constant)


def written(cell: Any) -> Any:
    """A value as its file says it, references unresolved."""
    kind_of = type(cell)
    if kind_of is Template:
        return cell.text
    if kind_of is Flagged:
        return written(cell.cell)
    if kind_of is Layers:
        return [written(each) for each in cell.cells]
    if kind_of is Automatic:
        return AUTOMATIC
    if kind_of in DICTS:
        return {key: written(value) for key, value in cell.items()}
    if kind_of in LISTS:
        return [written(value) for value in cell]
    return cell


def templates(cell: Any) -> Iterator[Template]:
    """The strings with references that stand in ``cell``."""
    if type(cell) is Template:
        yield cell
    elif type(cell) is OpenDict:
        for value in cell.values():
            yield from templates(value)
    elif type(cell) is OpenList:
        for value in cell:
            yield from templates(value)
    elif type(cell) is Flagged:
        yield from templates(cell.cell)
