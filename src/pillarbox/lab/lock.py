"""One at a time: locks that die with their process."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pillarbox.lab.errors import LabError


@contextmanager
def held(path: Path, *, wait: bool = False, what: str = "this lab") -> Iterator[None]:
    """Hold the lock file ``path`` for the block. The kernel lets go of it when the process ends, however it ends.

    Raises :class:`LabError` when another process holds it and ``wait`` is false.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            owner = os.pread(handle, 32, 0).decode(errors="replace").strip() or "unknown"
            raise LabError(
                f"another command (process {owner}) is working on {what}", hint="Wait for it to end, or end it."
            ) from None
        os.ftruncate(handle, 0)
        os.pwrite(handle, f"{os.getpid()}\n".encode(), 0)
        yield
    finally:
        os.close(handle)
