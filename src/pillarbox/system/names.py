"""What was probably meant: the known name that is most like a wrong one."""

from __future__ import annotations

from collections.abc import Iterable


def nearest(name: str, known: Iterable[object], *, cutoff: float = 0.6) -> str | None:
    """The name among ``known`` that is most like ``name``, or nothing where none is like it.

    ``cutoff`` is how like it has to be, from 0 (anything) to 1 (the same). What is no string is passed over.
    """
    # Only whoever made a mistake pays for loading it.
    from difflib import get_close_matches

    match = get_close_matches(name, sorted({each for each in known if isinstance(each, str)}), n=1, cutoff=cutoff)
    return match[0] if match else None


def did_you_mean(name: str, known: Iterable[object], *, cutoff: float = 0.6, prefix: str = "") -> str | None:
    """``Did you mean …?`` with the nearest name, or nothing. ``prefix`` goes before the name."""
    match = nearest(name, known, cutoff=cutoff)
    return f"Did you mean {prefix}{match}?" if match else None
