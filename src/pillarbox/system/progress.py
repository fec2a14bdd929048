"""Showing a person what a long operation is doing, one line at a time."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TextIO


def elapsed(seconds: float) -> str:
    """Seconds as people read them: ``0.4s``, ``12s``, ``3m05s``."""
    if seconds < 9.95:
        return f"{seconds:.1f}s"
    if seconds < 60:
        return f"{seconds:.0f}s"
    return f"{int(seconds) // 60}m{int(seconds) % 60:02d}s"


class Progress:
    """Progress lines with the time since the start, safe to use from several threads.

    ``sink`` takes each finished line (without newline); by default lines go to standard error, so that standard
    output stays free for data.
    """

    def __init__(self, sink: Callable[[str], None] | None = None, stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stderr
        self._sink = sink or self._write
        self._start = time.monotonic()
        self._lock = threading.Lock()
        self.durations: dict[str, float] = {}

    def _write(self, line: str) -> None:
        print(line, file=self._stream, flush=True)

    def step(self, text: str) -> None:
        """Say one thing that happens now."""
        with self._lock:
            self._sink(f"[{elapsed(time.monotonic() - self._start):>6}] {text}")

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Announce ``name``, then its end with how long it took; ``durations[name]`` keeps the seconds."""
        self.step(f"{name} ...")
        start = time.monotonic()
        try:
            yield
        except BaseException:
            self.step(f"{name}: failed after {elapsed(time.monotonic() - start)}")
            raise
        self.durations[name] = time.monotonic() - start
        self.step(f"{name}: done in {elapsed(self.durations[name])}")


SILENT = Progress(sink=lambda line: None)
