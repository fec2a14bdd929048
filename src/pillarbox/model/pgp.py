"""PGP blocks: how secrets stand in a model."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

BEGIN = "-----BEGIN PGP MESSAGE-----"


def is_block(value: Any) -> bool:
    """Whether ``value`` is text that holds an encrypted PGP message (the form of Salt's gpg renderer)."""
    return isinstance(value, str) and BEGIN in value


def blocks(data: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], str]]:
    """Every PGP block in ``data`` with the keys and list indices that lead to it."""
    if is_block(data):
        yield path, data
    elif isinstance(data, dict):
        for key, value in data.items():
            yield from blocks(value, (*path, str(key)))
    elif isinstance(data, list):
        for index, value in enumerate(data):
            yield from blocks(value, (*path, str(index)))
