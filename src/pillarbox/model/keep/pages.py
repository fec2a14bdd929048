"""Rendered nodes in the cache, in pages of nodes that are made of the same classes.

Which nodes make a page is a guess from an earlier run. A page itself lies under a digest of its nodes' files and holds
the digest of its classes, so a wrong guess costs time and never changes a result.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from pillarbox.model.keep.cache import MISS, Cache, digest, pack
from pillarbox.model.keep.pieces import Pieces
from pillarbox.model.keep.sources import Sources
from pillarbox.system.errors import PillarboxError

_SIZE = 128
_OPEN = 4096
"""How many pages are held in memory at most."""
_ADDED = 20_000
"""How many nodes are held in memory at most before they are written."""

Names = tuple[str, ...]


@dataclass(frozen=True)
class _Page:
    """An open page: every value that its nodes have, and for each node that is still to be asked for, which are its."""

    values: list[Any]
    rows: dict[str, list[int]]


class _Draft:
    """A page that is being made."""

    def __init__(self) -> None:
        self.values: list[Any] = []
        self.rows: dict[str, list[int]] = {}
        self._indices: dict[bytes, int] = {}

    def add(self, name: str, kept: list[Any]) -> None:
        row = []
        for value in kept:
            # What Pieces keeps, MessagePack can hold.
            key = value if isinstance(value, bytes) else pack(value) or b""
            index = self._indices.setdefault(key, len(self.values))
            if index == len(self.values):
                self.values.append(value)
            row.append(index)
        self.rows[name] = row


class Pages:
    """The pages of the nodes in ``sources``; a node is a row of values. Safe to use from several threads."""

    def __init__(self, sources: Sources, cache: Cache) -> None:
        self._sources = sources
        self._cache = cache
        self._pieces = Pieces(cache)
        self._lock = threading.Lock()
        self._pages: dict[str, Names] | None = None
        self._own_guess: bytes | None = None
        self._open: dict[Names, _Page] = {}
        self._drafts: dict[Names, _Draft] = {}
        self._added = 0
        self._written: list[Names] = []

    def get(self, name: str) -> Iterator[Any] | None:
        """The row of one node, if it was rendered before from the same files."""
        with self._lock:
            pages = self._known()
            names = pages.get(name)
            if names is None:
                return None
            page = self._open.get(names)
            if page is None or name not in page.rows:
                page = self._read(names) if len(self._open) < _OPEN else None
                if page is None:
                    for each in names:
                        pages.pop(each, None)
                    return None
                self._open[names] = page
            row = page.rows.pop(name)
            if not page.rows:
                del self._open[names]
        return map(page.values.__getitem__, row)

    def add(self, name: str, used: tuple[str, ...], row: list[Any]) -> None:
        """Keep a node that was rendered just now, and is made of the classes ``used``."""
        with self._lock:
            kept = self._pieces.split(row)
            if kept is None:
                return
            draft = self._drafts.setdefault(used, _Draft())
            draft.add(name, kept)
            self._added += 1
            if len(draft.rows) >= _SIZE:
                self._write(used, self._drafts.pop(used))
            if self._added >= _ADDED:
                self._write_all()

    def finish(self) -> None:
        """Write what was added, and for the next run to guess from, which nodes make a page."""
        with self._lock:
            self._write_all()
            if self._written:
                own = (page for page in self._known().values() if page[0] in self._sources.node_files)
                pages = dict.fromkeys([*own, *self._written])
                for key in self._guesses():
                    self._cache.put(key, list(map(list, pages)))
                self._pages = None
                self._written.clear()

    def _known(self) -> dict[str, Names]:
        """The guess: for each node, the nodes of its page."""
        if self._pages is None:
            self._pages = {}
            for key in self._guesses():
                pages = self._cache.get(key)
                if pages is not MISS:
                    self._pages = {name: names for names in map(tuple, pages) for name in names}
                    break
        return self._pages

    def _guesses(self) -> tuple[bytes, bytes]:
        """Where the guess lies: that of a model with the same nodes, or else the last one's."""
        sources = self._sources
        if self._own_guess is None:
            self._own_guess = digest(b"pages", sources.key, _packed(map(_bytes, sources.nodes)))
        return self._own_guess, digest(b"pages", sources.key)

    def _key(self, names: Names) -> bytes:
        sources = self._sources
        parts: list[bytes] = []
        for name in names:
            file = sources.node_files[name]
            parts += (_bytes(name), _bytes(file), sources.digest(file))
        return digest(b"page", sources.key, _packed(parts))

    def _read(self, names: Names) -> _Page | None:
        if any(name not in self._sources.node_files for name in names):
            return None
        try:
            known = self._cache.get(self._key(names))
            if known is MISS:
                return None
            used, classes, values, rows = known
            if self._sources.classes_digest(tuple(used)) != classes:
                return None
            return _Page(self._pieces.join(values), dict(zip(names, rows, strict=True)))
        except (PillarboxError, KeyError, ValueError, TypeError):
            # A file that cannot be read, which rendering will report; or pieces lost, or not what this program wrote.
            return None

    def _write(self, used: Names, draft: _Draft) -> None:
        names, rows = tuple(draft.rows), list(draft.rows.values())
        self._cache.put(self._key(names), [list(used), self._sources.classes_digest(used), draft.values, rows])
        self._written.append(names)
        self._added -= len(names)

    def _write_all(self) -> None:
        while self._drafts:
            self._write(*self._drafts.popitem())


def _packed(parts: Iterable[bytes]) -> bytes:
    """One part for a digest from many: much faster, and as unambiguous."""
    return pack(list(parts)) or b""


def _bytes(name: str) -> bytes:
    return name.encode("utf-8", "surrogateescape")
