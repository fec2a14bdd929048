"""Highstates of the hosts, asked for on the master."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

from docker.models.containers import Container

from pillarbox.errors import PillarboxError
from pillarbox.lab import parallel, salt, shell
from pillarbox.lab.errors import LabError
from pillarbox.progress import elapsed

_HEARTBEAT_SECONDS = 10


def highstate(master: Container, names: Sequence[str], say: Callable[[str], None]) -> dict[str, salt.Outcome]:
    """Apply the highstate of every host, all at once, and say how each ended.

    Raises :class:`LabError` with the states that failed, of every host that had any.
    """
    import time

    began = time.monotonic()
    running = set(names)
    over = threading.Event()

    def heartbeat() -> None:
        while not over.wait(_HEARTBEAT_SECONDS):
            if running:
                say(f"working: {', '.join(sorted(running))}")

    def one(name: str) -> salt.Outcome:
        # `queue`: a run that was cut off may still have its states going there.
        command = ["salt", "--out=json", "--static", "--timeout=60", name, "state.highstate", "queue=True"]
        result = shell.run(master, command, check=False)
        running.discard(name)
        outcome = salt.parse(result.out, name) if result.out.strip() else salt.outcome(result.err.strip())
        say(f"{name}: {outcome.summary()} ({elapsed(time.monotonic() - began)})")
        if not outcome.ok:
            raise LabError(f"the highstate of {name} failed ({outcome.summary()}):\n{outcome.told()}")
        return outcome

    thread = threading.Thread(target=heartbeat, daemon=True)
    thread.start()
    try:
        return dict(zip(names, parallel.each(one, names), strict=True))
    except PillarboxError:
        raise
    finally:
        over.set()
        thread.join()
