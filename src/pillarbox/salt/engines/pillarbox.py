"""Engine of the master: notices pushes, and builds each.

The hook leaves a note in the spool; the branch itself says the same, and is what counts. For whoever wants to know of
pushes, a reactor or another program on Salt's bus, the engine raises ``pillarbox/push`` with the revision. It does not
build by a reactor: what such a file orders would come from the very model that is only being pushed.
"""

from __future__ import annotations

import logging
import time
from typing import Any

import salt.runner
import salt.utils.event

from pillarbox.images.builder import PATIENCE
from pillarbox.pipeline.build import wanted
from pillarbox.pipeline.places import Places
from pillarbox.system import waiting

log = logging.getLogger(__name__)

__opts__: dict[str, Any] = {}

#: Seconds until what failed is tried again.
AGAIN = 10


def start(interval: float = 1.0, patience: float = PATIENCE) -> None:
    """Run until the master stops. A note in the spool is seen at once, the branch itself every ``interval`` seconds.

    A registry that is away is waited for for ``patience`` seconds during a build. A build that ends because something
    was away for longer is taken up again, at growing intervals.
    """
    places = Places.of(__opts__.get("pillarbox"))
    # Kept: finding the master's runners again would take longer than a build of nothing.
    with salt.runner.RunnerClient(__opts__) as client:
        while True:
            seen = _spooled(places)
            try:
                _look(places, client, patience)
            except Exception:
                # An engine that dies is restarted by the master at once, and would fill the log with the same.
                log.exception("pillarbox: looking for pushes failed; trying again in %d seconds", AGAIN)
                waiting.pause(AGAIN, "pushes, which failed")
            _rest(places, seen, interval)


def _look(places: Places, client: salt.runner.RunnerClient, patience: float) -> None:
    """Build what is pushed and not built, after whatever run goes on; the push shows which that is."""
    places.ensure()
    revision = wanted(places)
    if revision is None:
        return
    _raise(revision)
    client.cmd("pillarbox.build", [], kwarg={"patience": patience}, print_event=False)
    if wanted(places) == revision:
        log.warning("pillarbox: %s is still to be built; trying again in %d seconds", revision, AGAIN)
        waiting.pause(AGAIN, "a build that did not begin or was interrupted")


def _rest(places: Places, seen: int | None, interval: float) -> None:
    """Let ``interval`` seconds go by, or less: until a hook has left a note since the spool was as ``seen``."""
    over = time.monotonic() + interval
    while time.monotonic() < over and _spooled(places) == seen:
        waiting.pause(min(interval, 0.05), "notes of pushes")


def _spooled(places: Places) -> int | None:
    """What changes when a note is left or taken."""
    try:
        return places.spool.stat().st_mtime_ns
    except OSError:
        return None


def _raise(revision: str) -> None:
    with salt.utils.event.get_master_event(__opts__, __opts__["sock_dir"], listen=False) as bus:
        bus.fire_event({"revision": revision}, "pillarbox/push")
