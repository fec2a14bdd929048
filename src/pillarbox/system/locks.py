"""One at a time: a lock that the kernel drops with the process that holds it.

Not ``filelock``: it polls where the kernel queues who waits, falls back to a file that outlives its process where it
finds no ``flock``, and hooks into every fork of a process, which a Salt master does for each job.
"""

from __future__ import annotations

import fcntl
import logging
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pillarbox.system.errors import PillarboxError

log = logging.getLogger(__name__)

_mine = threading.local()


class Busy(PillarboxError):
    """Somebody else holds the lock, and it was not to be waited for."""


@contextmanager
def held(
    file: Path, *, wait: bool = True, waiting: Callable[[], None] | None = None, what: str | None = None
) -> Iterator[None]:
    """Hold the lock ``file`` for the block, against other processes and against other threads of this one.

    ``waiting`` is called, once, where somebody else has it. Its directory is made, for the owner only, where it is
    missing. The file stays when the lock is let go, and may be removed by whoever holds it: who waited for the removed
    one then takes the new one.

    Raises :class:`Busy` when somebody has it and ``wait`` is false (``what`` says what the other one works on),
    ``RuntimeError`` when this thread holds it already, and ``OSError`` where the file cannot be made.
    """
    path = os.path.abspath(file)
    held_here: set[tuple[int, str]] = _mine.__dict__.setdefault("paths", set())
    # With the process: what a forked one inherits of this it does not hold.
    token = (os.getpid(), path)
    if token in held_here:
        raise RuntimeError(f"this thread holds the lock {path} already; it would wait for itself")
    file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    descriptor = _acquire(path, wait, waiting, what or path)
    held_here.add(token)
    try:
        # For whoever finds it taken; nothing depends on it.
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        yield
    finally:
        held_here.discard(token)
        # Closing alone would leave it with processes that were forked meanwhile.
        fcntl.flock(descriptor, fcntl.LOCK_UN)
        os.close(descriptor)


@dataclass(frozen=True)
class Owner:
    """Who holds a lock: the id of the process, and since when, in seconds since the epoch."""

    process: str
    since: float


def owner(file: Path) -> Owner | None:
    """Who holds the lock right now, if anybody does and has written it down yet."""
    if not busy(file):
        return None
    try:
        return Owner(file.read_text(encoding="ascii").strip(), file.stat().st_mtime)
    except (OSError, ValueError):
        return None


def busy(file: Path) -> bool:
    """Whether somebody holds the lock right now."""
    try:
        descriptor = os.open(file, os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        return not _try(descriptor)
    finally:
        os.close(descriptor)


def _acquire(path: str, wait: bool, waiting: Callable[[], None] | None, what: str) -> int:
    while True:
        # Not through a link: what it leads to would be emptied.
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            if not _try(descriptor):
                owner = os.pread(descriptor, 32, 0).decode(errors="replace").strip() or "unknown"
                if not wait:
                    raise Busy(
                        f"another command (process {owner}) is working on {what}", hint="Wait for it to end, or end it."
                    )
                log.info("waiting for the lock %s, which process %s holds", path, owner)
                if waiting:
                    waiting()
                    waiting = None
                fcntl.flock(descriptor, fcntl.LOCK_EX)
                log.info("got the lock %s", path)
            if _is(path, descriptor):
                return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        # Whoever had it has removed the file: what we hold is nobody else's lock.
        os.close(descriptor)


def _try(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _is(path: str, descriptor: int) -> bool:
    try:
        return os.path.samestat(os.stat(path), os.fstat(descriptor))
    except FileNotFoundError:
        return False
