"""What a parameter may be before it is rendered, and how a later layer merges onto an earlier one.

Plain dicts, lists and scalars are final: they hold nothing that is still to be rendered. All else is one of the types
below. Merging never changes its arguments, so files, and merged prefixes of class lists, are shared by all nodes.
"""

from __future__ import annotations

from typing import Any, Final

from pillarbox.model import limits
from pillarbox.model.merge.template import Part


class OpenDict(dict[Any, Any]):
    """A mapping that holds, at any depth, something to render."""

    __slots__ = ()


class OpenList(list[Any]):
    """A list that holds, at any depth, something to render."""

    __slots__ = ()


class Template:
    """A string with references or queries; ``file`` and ``path`` say where it is written."""

    __slots__ = ("file", "parts", "path", "single", "text")

    def __init__(self, text: str, parts: tuple[Part, ...], file: str, path: tuple[Any, ...]) -> None:
        self.text = text
        self.parts = parts
        self.file = file
        self.path = path
        only = parts[0] if len(parts) == 1 else None
        # The keys of a string that is one plain reference, which most templates are.
        self.single: tuple[str, ...] | None = getattr(only, "path", None)


class Flagged:
    """A value whose key carries a prefix: it overrides what came before, or refuses what comes after."""

    __slots__ = ("cell", "constant", "overwrite")

    def __init__(self, cell: Any, overwrite: bool, constant: bool) -> None:
        self.cell = cell
        self.overwrite = overwrite
        self.constant = constant


class Layers:
    """Values of one parameter that can only be put together when they are rendered."""

    __slots__ = ("cells",)

    def __init__(self, cells: tuple[Any, ...]) -> None:
        self.cells = cells


class Automatic:
    """Where ``_reclass_`` of the node being rendered belongs."""

    __slots__ = ()


AUTOMATIC: Final = Automatic()

LAZY: Final = frozenset({Template, Flagged, Layers, Automatic})
"""Types whose value is known only once rendered."""

OPEN: Final = frozenset({Template, Flagged, Layers, Automatic, OpenDict, OpenList})
"""Types that are, or hold, something to render."""

DICTS: Final = frozenset({dict, OpenDict})
LISTS: Final = frozenset({list, OpenList})
CONTAINERS: Final = DICTS | LISTS


def merge(earlier: Any, later: Any) -> Any:
    """``later`` merged onto ``earlier``: mappings merge, lists extend, scalars replace.

    What cannot be decided yet is stacked, for rendering.
    """
    old, new = type(earlier), type(later)
    if old in DICTS and new in DICTS:
        return merge_dicts(earlier, later)
    if new is Flagged and later.overwrite and old not in LAZY:
        # A plain value cannot fail to render, so nothing of it can be missed.
        return later.cell
    if old in LAZY or new in LAZY:
        return stack(earlier, later)
    if old in LISTS:
        if new in LISTS:
            both = earlier + later
            return OpenList(both) if old is OpenList or new is OpenList else both
        return stack(earlier, later)
    if old in DICTS:
        return stack(earlier, later)
    if new in CONTAINERS and earlier is not None:
        return stack(earlier, later)
    return later


def merge_dicts(earlier: dict[Any, Any], later: dict[Any, Any]) -> dict[Any, Any]:
    """Two mappings as one; keys keep the place where they first stood."""
    both = {**earlier, **later}
    is_open = type(earlier) is OpenDict or type(later) is OpenDict
    for key in earlier.keys() & later.keys():
        value = merge(earlier[key], later[key])
        both[key] = value
        if not is_open and type(value) in OPEN:
            is_open = True
    return OpenDict(both) if is_open else both


def stack(earlier: Any, later: Any) -> Layers:
    """Both values, to be put together when rendered."""
    first = earlier.cells if type(earlier) is Layers else (earlier,)
    return Layers((*first, *later.cells) if type(later) is Layers else (*first, later))


def weight(cell: Any) -> int:
    """How many values stand in ``cell``, each layer counted; not much more than :data:`limits.VALUES` is counted."""
    count, left = 0, [cell]
    while left and count <= limits.VALUES:
        value = left.pop()
        kind = type(value)
        count += 1
        if kind in DICTS:
            left.extend(value.values())
        elif kind in LISTS:
            left.extend(value)
        elif kind is Layers:
            left.extend(value.cells)
        elif kind is Flagged:
            left.append(value.cell)
    return count


def without_flags(value: Any) -> Any:
    """``value`` as a reference to it sees it: what its own keys' prefixes ask for is done."""
    if type(value) is OpenDict:
        changed = {key: new for key, child in value.items() if (new := without_flags(child)) is not child}
        return OpenDict({**value, **changed}) if changed else value
    if type(value) is Flagged:
        return without_flags(value.cell)
    return value
