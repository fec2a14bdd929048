"""Copies of plain data, so that callers may change what they are given."""

from __future__ import annotations

from typing import Any

from pillarbox.model import limits

_FIXED = frozenset({str, int, bool, float, type(None), bytes})


class TooMany(Exception):
    """Written out, the data holds more values than the limits allow."""


def copy_plain(data: Any) -> Any:
    """``data`` with every dict and list copied; what stood in two places is two objects afterwards.

    Raises :class:`TooMany` when there are more values than :data:`limits.VALUES`.
    """
    room = limits.VALUES

    def copied(value: Any) -> Any:
        nonlocal room
        kind = type(value)
        if kind is dict:
            room -= len(value)
            if room < 0:
                raise TooMany
            return {key: child if type(child) in _FIXED else copied(child) for key, child in value.items()}
        if kind is list:
            room -= len(value)
            if room < 0:
                raise TooMany
            return [child if type(child) in _FIXED else copied(child) for child in value]
        if kind is set:
            return set(value)
        if kind is tuple:
            return tuple(copied(child) for child in value)
        return value

    return copied(data)


def expanded_size(data: Any) -> int:
    """How many values ``data`` holds once everything that stands in several places is written out in each."""
    sizes: dict[int, int] = {}

    def size(value: Any) -> int:
        if not isinstance(value, (dict, list)):
            return 1
        known = sizes.get(id(value))
        if known is None:
            children = value.values() if isinstance(value, dict) else value
            known = sizes[id(value)] = 1 + sum(map(size, children))
        return known

    return size(data)


def same(left: Any, right: Any) -> bool:
    """Whether two pieces of plain data are equal in value and type; the order of keys does not count."""
    if type(left) is not type(right):
        return False
    if isinstance(left, dict):
        return len(left) == len(right) and all(key in right and same(value, right[key]) for key, value in left.items())
    if isinstance(left, (list, tuple)):
        return len(left) == len(right) and all(map(same, left, right))
    return bool(left == right) or (left != left and right != right)
