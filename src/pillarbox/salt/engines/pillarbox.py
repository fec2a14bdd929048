"""Engine of the master: notices pushes, and sees to it that each is built.

The hook leaves a note in the spool; the branch itself says the same. The engine raises ``pillarbox/push`` on the bus,
which the reactor turns into the build orchestration. Where nothing comes of the event (no reactor, a published model
that lacks the orchestration, a dropped event, a master that was down), the engine builds by itself.
"""

from __future__ import annotations

import logging
import time
from typing import Any

import salt.runner
import salt.utils.event

from pillarbox.pipeline import publish
from pillarbox.pipeline.build import wanted
from pillarbox.pipeline.places import Places
from pillarbox.system import locks, waiting

log = logging.getLogger(__name__)

__opts__: dict[str, Any] = {}


def start(interval: float = 1.0, grace: float = 20.0) -> None:
    """Run until the master stops. A note in the spool is seen at once, the branch itself every ``interval`` seconds;
    ``grace`` is how many seconds the event has to get a build started."""
    places = Places.of(__opts__.get("pillarbox"))
    raised: tuple[str, float] | None = None
    while True:
        seen = _spooled(places)
        try:
            places.ensure()
            revision = None if locks.busy(places.lock) else wanted(places)
            if revision is None:
                raised = None
            elif publish.current(places) is None:
                # The very first: there is no orchestration yet that the reactor could run.
                _build()
            elif raised is None or raised[0] != revision:
                _raise(revision)
                raised = (revision, time.monotonic())
            elif time.monotonic() - raised[1] > grace:
                log.warning("pillarbox: nothing came of the event for %s; building it from the engine", revision)
                raised = None
                _build()
        except Exception:
            # An engine that dies is restarted by the master at once, and would fill the log with the same.
            log.exception("pillarbox: looking for pushes failed; trying again")
            waiting.pause(30, "pushes, which failed")
        _rest(places, seen, interval)


def _rest(places: Places, seen: int | None, interval: float) -> None:
    """Let ``interval`` seconds go by, or less: until a hook has left a note since the spool was as ``seen``."""
    over = time.monotonic() + interval
    while time.monotonic() < over and _spooled(places) == seen:
        waiting.pause(min(interval, 0.1), "notes of pushes")


def _spooled(places: Places) -> int | None:
    """What changes when a note is left or taken."""
    try:
        return places.spool.stat().st_mtime_ns
    except OSError:
        return None


def _raise(revision: str) -> None:
    with salt.utils.event.get_master_event(__opts__, __opts__["sock_dir"], listen=False) as bus:
        bus.fire_event({"revision": revision}, "pillarbox/push")


def _build() -> None:
    with salt.runner.RunnerClient(__opts__) as client:
        client.cmd("pillarbox.build", [], print_event=False)
