"""Layers of one parameter put together, when they are rendered: what may merge onto what, and how much."""

from __future__ import annotations

from typing import Any

from pillarbox.model import limits
from pillarbox.model.merge.cells import DICTS, LISTS, OpenDict, OpenList, merge_dicts, weight
from pillarbox.model.merge.entity import kind
from pillarbox.model.merge.problems import TooLarge, TypeConflict
from pillarbox.model.read.settings import Settings


def combine(old: Any, new: Any, settings: Settings) -> Any:
    """``new`` on top of ``old``. Raises :class:`TypeConflict` for types that do not merge by these settings."""
    if type(old) in DICTS:
        if type(new) in DICTS:
            return merge_dicts(old, new)
        if type(new) not in LISTS and (
            settings.allow_scalar_over_dict or (settings.allow_none_override and new is None)
        ):
            return new
    elif type(old) in LISTS:
        if type(new) in LISTS:
            both = old + new
            return OpenList(both) if type(old) is OpenList or type(new) is OpenList else both
        if type(new) not in DICTS and (
            settings.allow_scalar_over_list or (settings.allow_none_override and new is None)
        ):
            return new
    elif type(new) in DICTS:
        if settings.allow_dict_over_scalar:
            return new
    elif type(new) in LISTS:
        if settings.allow_list_over_scalar:
            both = [old, *new]
            return OpenList(both) if type(new) is OpenList else both
    else:
        return new
    raise TypeConflict(f"cannot merge {kind(_plainly(new))} over {kind(_plainly(old))}")


def _plainly(value: Any) -> Any:
    if type(value) is OpenDict:
        return {}
    return [] if type(value) is OpenList else value


class Weights:
    """How many values one node's containers hold, and how many were put together so far."""

    def __init__(self) -> None:
        self._known: dict[int, int] = {}
        self._kept: list[Any] = []
        self._work = 0

    def of(self, container: Any) -> int:
        """How many values stand in ``container``."""
        known = self._known.get(id(container))
        if known is None:
            known = self._known[id(container)] = weight(container)
            # Keeps the container alive as long as its id is a key.
            self._kept.append(container)
        return known

    def both(self, old: int, new: int) -> int:
        """The most that two containers of these weights can weigh together. Raises :class:`TooLarge` when one of them,
        or all that was put together for this node, is beyond the limits."""
        if old > limits.VALUES or new > limits.VALUES:
            raise TooLarge(f"references make it more than {limits.VALUES} values")
        self._work += limits.STEP + old + new
        if self._work > limits.WORK:
            raise TooLarge(
                "references put too much together", hint="Does a value that has several layers contain itself?"
            )
        return old + new
