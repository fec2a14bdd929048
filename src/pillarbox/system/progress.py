"""Showing a person what a long operation is doing, one line at a time, and in a silence what it waits for."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TextIO

#: After so many seconds without a line, one says what still goes on.
SILENCE = 15.0
#: How many of the things that go on at once such a line names.
_NAMED = 4


def elapsed(seconds: float) -> str:
    """Seconds as people read them: ``0.4s``, ``12s``, ``3m05s``."""
    if seconds < 9.95:
        return f"{seconds:.1f}s"
    if seconds < 60:
        return f"{seconds:.0f}s"
    return f"{int(seconds) // 60}m{int(seconds) % 60:02d}s"


class Activity:
    """Something that goes on; ``text`` says what, and may change while it does."""

    def __init__(self, text: str, outer: bool) -> None:
        self.text = text
        self.outer = outer
        self._start = time.monotonic()

    def now(self, text: str) -> None:
        """It has become ``text``."""
        if text != self.text:
            self.text, self._start = text, time.monotonic()

    def __str__(self) -> str:
        return f"{self.text} (for {elapsed(time.monotonic() - self._start)})"


class Progress:
    """Progress lines with the time since the start, safe to use from several threads.

    ``sink`` takes each finished line (without newline); by default lines go to standard error, so that standard
    output stays free for data. While a :meth:`phase` or something that is waited for (:meth:`waiting`) goes on, no
    silence is longer than ``silence`` seconds: a line says what it is, and for how long.
    """

    def __init__(
        self, sink: Callable[[str], None] | None = None, stream: TextIO | None = None, *, silence: float = SILENCE
    ) -> None:
        self._stream = stream or sys.stderr
        self._sink = sink or self._write
        self._silence = silence
        self._start = self._heard = time.monotonic()
        self._changed = threading.Condition()
        self._going: list[Activity] = []
        self._watched = False
        self.durations: dict[str, float] = {}

    def _write(self, line: str) -> None:
        print(line, file=self._stream, flush=True)

    def step(self, text: str) -> None:
        """Say one thing that happens now."""
        with self._changed:
            self._say(text)

    def _say(self, text: str) -> None:
        self._heard = time.monotonic()
        self._sink(f"[{elapsed(self._heard - self._start):>6}] {text}")

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Announce ``name``, then its end with how long it took; ``durations[name]`` keeps the seconds."""
        self.step(f"{name} ...")
        start = time.monotonic()
        try:
            with self._on(Activity(name, outer=True)):
                yield
        except BaseException:
            self.step(f"{name}: failed after {elapsed(time.monotonic() - start)}")
            raise
        self.durations[name] = time.monotonic() - start
        self.step(f"{name}: done in {elapsed(self.durations[name])}")

    @contextmanager
    def waiting(self, what: str) -> Iterator[Activity]:
        """Say nothing now, and ``what`` goes on in each silence while the block runs."""
        with self._on(Activity(what, outer=False)) as activity:
            yield activity

    @contextmanager
    def _on(self, activity: Activity) -> Iterator[Activity]:
        with self._changed:
            self._going.append(activity)
            if not self._watched and self._silence < threading.TIMEOUT_MAX:
                self._watched = True
                threading.Thread(target=self._watch, name="progress", daemon=True).start()
        try:
            yield activity
        finally:
            with self._changed:
                self._going.remove(activity)
                self._changed.notify()

    def _watch(self) -> None:
        with self._changed:
            while self._going:
                left = self._heard + self._silence - time.monotonic()
                if left > 0:
                    self._changed.wait(left)
                else:
                    self._say(f"still: {_named(self._going)}")
            self._watched = False


def _named(going: list[Activity]) -> str:
    """What goes on: what is waited for, and where nothing is, the phase that began last."""
    inner = [str(each) for each in going if not each.outer] or [str(going[-1])]
    more = f" and {len(inner) - _NAMED} more" if len(inner) > _NAMED else ""
    return f"{', '.join(inner[:_NAMED])}{more}"


SILENT = Progress(sink=lambda line: None, silence=float("inf"))
