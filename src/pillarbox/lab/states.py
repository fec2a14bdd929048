"""Highstates of the hosts, asked for on the master."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping

from docker.models.containers import Container

from pillarbox.errors import PillarboxError
from pillarbox.lab import minions, parallel, salt, shell
from pillarbox.lab.errors import LabError
from pillarbox.progress import elapsed

_HEARTBEAT_SECONDS = 10


def highstate(
    master: Container, containers: Mapping[str, Container], say: Callable[[str], None]
) -> dict[str, salt.Outcome]:
    """Apply the highstate of every host, all at once, and say how each ended.

    Raises :class:`LabError` with the states that failed, of every host that had any.
    """
    import time

    began = time.monotonic()
    names = sorted(containers)
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
        if result.out.strip() in ("", "{}"):
            # Nothing came back: a master or minion that was just restarting has lost it.
            say(f"{name}: no answer, asking again")
            minions.settle(containers[name], name)
            minions.await_answers(master, [name])
            result = shell.run(master, command, check=False)
        minions.settle(containers[name], name)
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
