"""Highstates of the hosts, asked for on the master."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Callable, Mapping

from docker.models.containers import Container

from pillarbox.lab import minions, parallel, shell
from pillarbox.lab.errors import LabError
from pillarbox.system import salt_results, waiting
from pillarbox.system.progress import elapsed
from pillarbox.system.salt_results import StateResults

_HEARTBEAT_SECONDS = 10
# A minion notes each job it runs in a file of the job's name.
_PROC = "/var/cache/salt/minion/proc"
_START_SECONDS = 30
_ATTEMPTS = 3


def highstate(
    master: Container, containers: Mapping[str, Container], say: Callable[[str], None]
) -> dict[str, StateResults]:
    """Apply the highstate of every host, all at once, and say how each ended.

    Raises :class:`LabError` with the states that failed, of every host that had any.
    """
    began = time.monotonic()
    names = sorted(containers)
    running = set(names)

    def heartbeat() -> None:
        if running:
            say(f"working: {', '.join(sorted(running))}")

    def one(name: str) -> StateResults:
        try:
            results = _apply(master, containers[name], name, say)
        finally:
            running.discard(name)
        say(f"{name}: {results.summary()} ({elapsed(time.monotonic() - began)})")
        if not results.ok:
            raise LabError(f"the highstate of {name} failed ({results.summary()}):\n{results.failures()}")
        return results

    with waiting.meanwhile(heartbeat, every=_HEARTBEAT_SECONDS):
        return dict(zip(names, parallel.each(one, names), strict=True))


def _apply(master: Container, container: Container, name: str, say: Callable[[str], None]) -> StateResults:
    """One host's highstate, as a job that is watched on the host: a busy master's ``salt`` command gives up too soon,
    and a master or minion that restarts loses what it was just asked."""
    for _ in range(_ATTEMPTS):
        # `queue`: a run that was cut off may still have its states going there.
        command = ["salt", "--async", "--out=txt", name, "state.highstate", "queue=True"]
        started = shell.run(master, command, check=False)
        found = re.search(r"\b(\d{20})\b", started.out)
        results = _await(master, container, name, found[1]) if found else None
        minions.settle(container, name)
        if results is not None:
            return results
        say(f"{name}: no answer, asking again")
        minions.await_answers(master, [name])
    return StateResults(error=f"asked {_ATTEMPTS} times, the minion never returned a result")


def _await(master: Container, container: Container, name: str, job: str) -> StateResults | None:
    """The results of a job, or nothing when it never began or its result was lost."""

    def running() -> bool:
        return shell.run(container, ["test", "-e", f"{_PROC}/{job}"], check=False).code == 0

    def returned() -> StateResults | None:
        command = ["salt-run", "--log-level=error", "--out=json", "jobs.lookup_jid", job]
        return salt_results.parse(shell.run(master, command, check=False).out, name)

    what = f"the states of {name}"
    while True:
        # Only shortly after the file is gone is the result at the master.
        found = waiting.until(lambda: running() or returned(), what, patience=_START_SECONDS, every=1)
        if not isinstance(found, bool):
            return found
        waiting.until(lambda: not running(), f"{what} to end", patience=math.inf, every=0.5)
