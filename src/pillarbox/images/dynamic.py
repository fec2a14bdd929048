"""Dynamic parameters: the ``$NAME`` placeholders in strings of the pillar."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

#: The same grammar as in ``images/entrypoint``, which fills the placeholders.
ENCODINGS = ("raw", "url", "oslo", "sql", "json", "digest")
PLACEHOLDER = re.compile(r"\$(?:(?P<encoding>[a-z]+):)?(?P<name>[A-Z][A-Z0-9_]*)")
BRACED = re.compile(r"\$\{(?:[a-z]+:)?[A-Z][A-Z0-9_]*\}")

Path = tuple[str, ...]


def strings(data: Any, path: Path = ()) -> Iterator[tuple[Path, str]]:
    """Every string in ``data`` (keys of mappings are none) with the keys and list indices that lead to it."""
    if isinstance(data, str):
        yield path, data
    elif isinstance(data, dict):
        for key, value in data.items():
            yield from strings(value, (*path, str(key)))
    elif isinstance(data, list | tuple):
        for index, value in enumerate(data):
            yield from strings(value, (*path, str(index)))


def names(data: Any) -> tuple[str, ...]:
    """The dynamic names that the strings in ``data`` declare, sorted."""
    return tuple(sorted({found["name"] for _, text in strings(data) for found in PLACEHOLDER.finditer(text)}))


def mistakes(data: Any) -> Iterator[tuple[Path, str, str]]:
    """What looks like a placeholder and is none: its path, what is wrong, and the remedy."""
    for path, text in strings(data):
        for found in BRACED.finditer(text):
            yield path, f"{found[0]} is no placeholder", f"Write ${found[0][2:-1]}."
        for found in PLACEHOLDER.finditer(text):
            encoding, following = found["encoding"], text[found.end() : found.end() + 1]
            if encoding and encoding not in ENCODINGS:
                yield path, f"{found[0]}: there is no encoding {encoding}", f"Encodings: {', '.join(ENCODINGS)}."
            if following.isalpha() and following.islower():
                yield (
                    path,
                    f"the name of {found[0]} runs on into {following!r}",
                    "Names are upper case ([A-Z][A-Z0-9_]*) and end where another character follows.",
                )
