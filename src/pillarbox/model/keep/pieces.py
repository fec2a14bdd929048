"""Values in the cache, in pieces: what nodes have in common is kept, and read, once."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from pillarbox.model.keep.cache import MISS, Cache, digest, pack

_MEMORY = 100_000
_INLINE = 160


class Pieces:
    """Turns top-level values into references to pieces, and back."""

    def __init__(self, cache: Cache) -> None:
        self._cache = cache
        self._pieces: dict[bytes, Any] = {}
        # Values that files share are the same object in many nodes; the value is kept so that its id stays its own.
        self._written: dict[int, tuple[Any, bytes]] = {}

    def split(self, values: Iterable[Any]) -> list[Any] | None:
        """``values`` as the cache keeps them: ``bytes`` name a piece, a list holds a value.

        ``None`` when one of them cannot be kept.
        """
        out: list[Any] = []
        for value in values:
            written = self._written.get(id(value))
            if written is not None:
                out.append(written[1])
                continue
            packed = pack(value)
            if packed is None:
                return None
            if len(packed) < _INLINE:
                out.append([value])
                continue
            name = digest(b"piece", packed)
            if name not in self._pieces:
                self._trim()
                self._pieces[name] = value
                self._cache.put(name, value)
            self._written[id(value)] = (value, name)
            out.append(name)
        return out

    def join(self, stored: list[Any]) -> list[Any]:
        """The values of :meth:`split`. Raises :class:`KeyError` when a piece was lost."""
        out = []
        pieces = self._pieces
        for each in stored:
            if type(each) is bytes:
                if each not in pieces:
                    value = self._cache.get(each)
                    if value is MISS:
                        raise KeyError(each)
                    self._trim()
                    pieces[each] = value
                out.append(pieces[each])
            else:
                out.append(each[0])
        return out

    def _trim(self) -> None:
        if len(self._pieces) > _MEMORY or len(self._written) > _MEMORY:
            self._pieces.clear()
            self._written.clear()
