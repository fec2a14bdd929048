"""What a builder keeps on its machine: caches, and the locks that keep two builds of one thing apart."""

from __future__ import annotations

import contextlib
import hashlib
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from pillarbox.images.errors import StoreError
from pillarbox.system import environment, locks


class Store:
    """A directory for caches and locks: ``path``, else what ``PILLARBOX_BUILD_CACHE`` names.

    Raises :class:`VariableError` for one that is not absolute.
    """

    def __init__(self, path: str | Path | None = None) -> None:
        self.path = Path(path) if path else environment.BUILD_CACHE.directory()

    def folder(self, name: str) -> Path:
        """A directory of the store, made where it is missing."""
        folder = self.path / name
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            hint = f"Set {environment.BUILD_CACHE.name} to a directory that this user may write to."
            raise StoreError(f"cannot make {folder}: {error.strerror}", hint=hint) from error
        return folder

    def sweep(self, name: str, age: float) -> None:
        """Remove what is in a directory of the store and was last touched ``age`` seconds ago, or earlier: what builds
        left there that were ended."""
        for path in self.folder(name).iterdir():
            # A build may be done with it at this very moment.
            with contextlib.suppress(FileNotFoundError):
                if time.time() - path.stat().st_mtime >= age:
                    shutil.rmtree(path, ignore_errors=True)

    @contextlib.contextmanager
    def lock(self, name: str, waiting: Callable[[], None] | None = None) -> Iterator[None]:
        """Hold the lock ``name``, against other processes and other threads; ``waiting`` is called if it is taken.

        The kernel lets go of it when the process ends, however it ends.
        """
        file = self.folder("locks") / hashlib.sha256(name.encode()).hexdigest()[:32]
        with locks.held(file, waiting=waiting):
            yield
