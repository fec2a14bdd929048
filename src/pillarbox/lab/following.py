"""Showing now and then what something that takes long is doing."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from pillarbox.system import waiting
from pillarbox.system.progress import elapsed


class Following:
    """Remembers the latest thing that happened, and says it when it is time to say something again."""

    def __init__(self, say: Callable[[str], None], *, every: float = 3.0, silence: float = 15.0) -> None:
        self._say, self._every, self._silence = say, every, silence
        self._latest = ""
        self._since = self._told = time.monotonic()
        self._lock = threading.Lock()

    def note(self, text: str) -> None:
        """``text`` happens now."""
        with self._lock:
            self._latest, self._since = text, time.monotonic()
            if self._since - self._told >= self._every:
                self._tell(text)

    def tick(self) -> None:
        """Time passes: after a while without anything new, say what still goes on."""
        with self._lock:
            now = time.monotonic()
            if now - self._told >= self._silence and self._latest:
                self._tell(f"{self._latest} (for {elapsed(now - self._since)})")

    def _tell(self, text: str) -> None:
        self._told = time.monotonic()
        self._say(text)


@contextmanager
def following(say: Callable[[str], None]) -> Iterator[Following]:
    """A :class:`Following` whose time passes by itself while the block runs."""
    follow = Following(say)
    with waiting.meanwhile(follow.tick, every=1):
        yield follow
