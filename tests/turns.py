"""Two processes share the tests: the lab's come first, and whoever counts requests has the machine to itself."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from pillarbox.system import locks

#: Names the directory of the locks that the processes of one run have in common.
VARIABLE = "TESTS_TAKE_TURNS"
NICENESS = 5


@contextmanager
def held(name: str, *, shared: bool = False) -> Iterator[None]:
    """What one process has at a time, or several that share it; nothing to wait for where there is one process."""
    if (directory := os.environ.get(VARIABLE)) is None:
        yield
    elif not shared:
        with locks.held(Path(directory, name)):
            yield
    else:
        with Path(directory, name).open("a") as file:
            fcntl.flock(file, fcntl.LOCK_SH)
            try:
                yield
            finally:
                # Closing alone would leave it with processes that were forked meanwhile.
                fcntl.flock(file, fcntl.LOCK_UN)


@contextmanager
def working() -> Iterator[None]:
    """A test that may keep the machine busy: after the lab's own work, not while another process needs the machine for
    itself, and not before one that waits for it."""
    if VARIABLE in os.environ:
        os.nice(max(0, NICENESS - os.nice(0)))
    with ExitStack() as stack:
        with held("next"):
            stack.enter_context(held("machine"))
        yield


@contextmanager
def alone() -> Iterator[None]:
    """The machine to itself, once the other process's test has ended."""
    with held("next"), held("machine"):
        yield
