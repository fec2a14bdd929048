"""Digests of files that have not changed since they were last read, as git's index keeps them."""

from __future__ import annotations

from pillarbox.model.keep.cache import MISS, Cache, digest, version
from pillarbox.model.read.tree import Tree


class Stamps:
    """Digests of one tree's files, kept in the cache with the files' stamps."""

    def __init__(self, cache: Cache, tree: Tree) -> None:
        self._cache = cache
        self._tree = tree
        self._key = digest(b"stamps", version(), tree.identity().encode("utf-8", "surrogateescape"))
        self._known: dict[str, list[object]] | None = None
        self._changed = False

    def get(self, file: str) -> bytes | None:
        """The digest of ``file`` if its stamp is the one that was kept with it."""
        entry = self._all().get(file)
        if entry is None:
            return None
        stamp = self._tree.stamp(file)
        if stamp is None or list(stamp) != entry[1:]:
            return None
        found = entry[0]
        return found if isinstance(found, bytes) else None

    def put(self, file: str, found: bytes) -> None:
        """Keep a digest that was just computed."""
        stamp = self._tree.stamp(file)
        if stamp is not None:
            self._all()[file] = [found, *stamp]
            self._changed = True

    def _all(self) -> dict[str, list[object]]:
        if self._known is None:
            loaded = self._cache.get(self._key)
            self._known = loaded if loaded is not MISS and isinstance(loaded, dict) else {}
        return self._known

    def save(self) -> None:
        """Put what changed into the cache."""
        if self._changed and self._known is not None:
            self._cache.put(self._key, self._known)
            self._changed = False
