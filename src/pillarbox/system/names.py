"""What was probably meant: the known name that is most like a wrong one."""

from __future__ import annotations

import re
from collections.abc import Iterable

_WORD = re.compile(r"[^\W_]+")
#: How like the words of two names have to be that only one of them has.
_REST = 0.6


def nearest(name: str, known: Iterable[object], *, cutoff: float = 0.6) -> str | None:
    """The name among ``known`` that is most like ``name``, or nothing where none is like it.

    ``cutoff`` is how like it has to be, from 0 (anything) to 1 (the same). Words that both have say little: names that
    begin alike may mean different things, so the other words have to be alike as well. What is no string is passed
    over.
    """
    # Only whoever made a mistake pays for loading it.
    from difflib import SequenceMatcher, get_close_matches

    candidates = sorted({each for each in known if isinstance(each, str)})
    for match in get_close_matches(name, candidates, n=max(1, len(candidates)), cutoff=cutoff):
        words, others = _WORD.findall(name), _WORD.findall(match)
        mine = "_".join(word for word in words if word not in others)
        theirs = "_".join(word for word in others if word not in words)
        if not (mine and theirs) or SequenceMatcher(None, theirs, mine).ratio() >= _REST:
            return match
    return None


def did_you_mean(name: str, known: Iterable[object], *, cutoff: float = 0.6, prefix: str = "") -> str | None:
    """``Did you mean …?`` with the nearest name, or nothing. ``prefix`` goes before the name."""
    match = nearest(name, known, cutoff=cutoff)
    return f"Did you mean {prefix}{match}?" if match else None
