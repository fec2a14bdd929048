"""What a builder keeps on its machine: caches, and the locks that keep two builds of one thing apart."""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path

from pillarbox.images.errors import StoreError
from pillarbox.system import locks

CACHE = "/var/cache/pillarbox"


class Store:
    """A directory for caches and locks: ``path``, else ``PILLARBOX_BUILD_CACHE``, else ``/var/cache/pillarbox``."""

    def __init__(self, path: str | Path | None = None) -> None:
        self.path = Path(path or os.environ.get("PILLARBOX_BUILD_CACHE") or CACHE)

    def folder(self, name: str) -> Path:
        """A directory of the store, made where it is missing."""
        folder = self.path / name
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            hint = "Set PILLARBOX_BUILD_CACHE to a directory that this user may write to."
            raise StoreError(f"cannot make {folder}: {error.strerror}", hint=hint) from error
        return folder

    @contextlib.contextmanager
    def lock(self, name: str, waiting: Callable[[], None] | None = None) -> Iterator[None]:
        """Hold the lock ``name``, against other processes and other threads; ``waiting`` is called if it is taken.

        The kernel lets go of it when the process ends, however it ends.
        """
        file = self.folder("locks") / hashlib.sha256(name.encode()).hexdigest()[:32]
        with locks.held(file, waiting=waiting):
            yield
