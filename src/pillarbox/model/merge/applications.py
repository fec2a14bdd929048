"""Putting lists of applications together: each name once, ``~name`` takes one away."""

from __future__ import annotations

from collections.abc import Iterable

NEGATION = "~"


def merge_applications(earlier: tuple[str, ...], later: Iterable[str]) -> tuple[str, ...]:
    """``earlier`` with the entries of a later file.

    The names that ``later`` negates go from ``earlier`` first; within ``later`` a negation counts for what stands
    before it.
    """
    own: list[str] = []
    negated: set[str] = set()
    for name in later:
        if name.startswith(NEGATION):
            name = name[len(NEGATION) :]
            negated.add(name)
            if name in own:
                own.remove(name)
        elif name not in own:
            own.append(name)
    result = [name for name in earlier if name not in negated]
    result.extend(name for name in own if name not in result)
    return tuple(result)
