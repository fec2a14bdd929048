"""Waiting for what others do, and trying again what may pass: with ``tenacity``, and a line in the log each time.

A wait that an event ends (a watch, a queue, the end of a process) is better than any of these; they are for what only
asking again can tell.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar

from pillarbox.system.errors import Unavailable

# Loading tenacity takes a quarter of a second; a command that never waits does not pay for it.
if TYPE_CHECKING:
    from tenacity import RetryCallState
    from tenacity.wait import wait_base

T = TypeVar("T")

log = logging.getLogger(__name__)


def until(ready: Callable[[], T], what: str, *, patience: float, every: float = 0.2, longest: float | None = None) -> T:
    """Ask ``ready`` again and again until what it gives is true; return that, or the last answer (an untrue one) when
    ``patience`` seconds are over. It is asked at least once, and what it raises is not caught.

    ``every`` is how many seconds lie between two questions; with ``longest`` they grow up to so many. ``what`` says
    in the log what is waited for: "the key of minion x".
    """
    import tenacity

    def again(state: RetryCallState) -> None:
        # Once for those who want to know what is going on; each question for those who look for a mistake.
        level = logging.INFO if state.attempt_number == 1 else logging.DEBUG
        log.log(level, "waiting for %s (%.1f of at most %g s)", what, state.seconds_since_start or 0.0, patience)

    def over(state: RetryCallState) -> T:
        log.info("gave up waiting for %s after %.1f s", what, state.seconds_since_start or 0.0)
        assert state.outcome is not None
        last: T = state.outcome.result()
        return last

    retrying = tenacity.Retrying(
        retry=tenacity.retry_if_result(lambda answer: not answer),
        wait=_delays(every, longest),
        stop=tenacity.stop_after_delay(patience),
        before_sleep=again,
        retry_error_callback=over,
    )
    return retrying(ready)


def retry(
    call: Callable[[], T],
    what: str,
    *,
    passing: type[Exception] | tuple[type[Exception], ...] | Callable[[BaseException], bool],
    patience: float,
    every: float = 0.25,
    longest: float | None = 4.0,
) -> T:
    """What ``call`` returns. It is called again while it raises something ``passing`` (types, or a function that
    judges the error) and ``patience`` seconds are not over; then, and for every other error, the error is raised.

    Seconds between two calls grow from ``every`` up to ``longest``. ``what`` says in the log what is tried.
    """
    import tenacity

    def again(state: RetryCallState) -> None:
        assert state.outcome is not None and state.next_action is not None
        error, pause = state.outcome.exception(), state.next_action.sleep
        log.info("%s: %s; trying again in %.1f s", what, _first_line(error), pause)

    if isinstance(passing, (type, tuple)):
        condition: tenacity.retry_base = tenacity.retry_if_exception_type(passing)
    else:
        condition = tenacity.retry_if_exception(passing)
    retrying = tenacity.Retrying(
        retry=condition,
        wait=_delays(every, longest),
        stop=tenacity.stop_before_delay(patience),
        before_sleep=again,
        reraise=True,
    )
    return retrying(call)


def _nobody(line: str) -> None:
    """Whom a line is for when nobody waits for it."""


@dataclass(frozen=True)
class Patience:
    """How long to wait for what does not answer: for ``seconds``, with a line to ``say`` when a wait begins and when it
    ends well. Without seconds nothing is waited for; ``stop`` ends a wait early."""

    seconds: float = 0.0
    say: Callable[[str], None] = field(default=_nobody, compare=False)
    stop: threading.Event | None = field(default=None, compare=False)

    def retry(self, call: Callable[[], T], what: str) -> T:
        """What ``call`` returns; it is called again while it raises :class:`Unavailable` and patience lasts."""
        if self.seconds <= 0:
            return call()
        waited = False

        def passing(error: BaseException) -> bool:
            nonlocal waited
            if not isinstance(error, Unavailable) or (self.stop is not None and self.stop.is_set()):
                return False
            if not waited:
                waited = True
                self.say(f"{error.message}; waiting for up to {self.seconds:g} s")
            return True

        answer = retry(call, what, passing=passing, patience=self.seconds)
        if waited:
            self.say(f"{what}: it answers again")
        return answer


IMPATIENT = Patience()


def pause(seconds: float, what: str) -> None:
    """Let ``seconds`` go by, where a loop of its own looks again at ``what``: a file that others write to."""
    log.debug("looking again at %s in %g s", what, seconds)
    time.sleep(seconds)


@contextmanager
def meanwhile(call: Callable[[], None], *, every: float) -> Iterator[None]:
    """Call ``call`` every so many seconds, in a thread of its own, while the block runs; a sign of life, say."""
    over = threading.Event()

    def passing() -> None:
        while not over.wait(every):
            call()

    thread = threading.Thread(target=passing, name="meanwhile", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


@contextmanager
def within(seconds: float | None, end: Callable[[], None]) -> Iterator[threading.Event]:
    """Let the block run for ``seconds``, or for as long as it likes; then set the event that it is given, and call
    ``end``, in a thread of its own, which has to make the block end."""
    over = threading.Event()
    if seconds is None:
        yield over
        return

    def cut() -> None:
        over.set()
        end()

    timer = threading.Timer(seconds, cut)
    timer.daemon = True
    timer.start()
    try:
        yield over
    finally:
        timer.cancel()


def _delays(every: float, longest: float | None) -> wait_base:
    import tenacity

    if longest is None:
        return tenacity.wait_fixed(every)
    return tenacity.wait_exponential(multiplier=every, min=every, max=longest)


def _first_line(error: BaseException | None) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
