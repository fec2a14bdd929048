"""Highstates of hosts: one Salt job to all that are updated at the same time."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import salt.key
from salt.utils.state import check_result

from pillarbox import pki
from pillarbox.pipeline.hosts import HostOutcome, HostState
from pillarbox.salt.client import master_options, returns
from pillarbox.system import salt_results
from pillarbox.system.progress import Progress

#: A minion that has no room for a job's file ends the job, and answers nothing.
SILENT = "it gave no answer; does its salt-minion run, and is there room on its disks?"


class Highstates:
    """A :class:`pillarbox.pipeline.hosts.ApplyStates` of the master's minions."""

    def __init__(self, opts: Mapping[str, Any]) -> None:
        self.opts = opts

    def __call__(
        self, hosts: Sequence[str], states: Sequence[str] = (), *, dry_run: bool, progress: Progress
    ) -> dict[str, HostOutcome]:
        """Apply the highstates, or the ``states``. Raises :class:`PipelineError` when the master does not answer."""
        function, given = ("state.apply", (",".join(states),)) if states else ("state.highstate", ())
        # States that a deploy before this one began, and that outlived it, end first.
        named = {"queue": True, **({"test": True} if dry_run else {})}
        return apply(self.opts, hosts, function, given, named=named, progress=progress)

    def clocks(self, hosts: Sequence[str]) -> dict[str, float]:
        """How far each host's clock is ahead; its answer was made between question and answer."""
        found, asked = {}, time.time()
        for host, returned in returns(self.opts, hosts, "status.time", ("%s",), {}):
            with suppress(TypeError, ValueError):
                there = float(returned)
                found[host] = max(0.0, there - time.time()) + min(0.0, there + 1 - asked)
        return found

    def forget(self, hosts: Sequence[str]) -> None:
        """Delete the hosts' keys on the master, and what was issued to them."""
        options = master_options(self.opts)
        keys = salt.key.get_key(options)
        for host in hosts:
            keys.delete_key(match=host)
            pki.forget(_pki(options), host)


def apply(
    opts: Mapping[str, Any],
    hosts: Sequence[str],
    function: str,
    given: Sequence[Any] = (),
    *,
    named: Mapping[str, Any],
    progress: Progress,
) -> dict[str, HostOutcome]:
    """What became of each of the hosts by one Salt job that applies states; ``given`` and ``named`` are the arguments
    of ``function``. One that gives no answer has failed. Raises :class:`PipelineError` when the master does not answer.
    """
    found = dict.fromkeys(hosts, HostOutcome(HostState.FAILED, SILENT))
    for host, returned in returns(opts, hosts, function, given, named):
        found[host] = outcome(returned, dry_run=bool(named.get("test")))
        progress.step(f"host {host}: {summary(returned, found[host])}")
    return found


def _pki(options: Mapping[str, Any]) -> Path:
    """Where the master's ext_pillar keeps what it issues."""
    for each in options.get("ext_pillar") or ():
        if isinstance(each, Mapping) and isinstance(each.get("pillarbox"), Mapping):
            return Path(each["pillarbox"].get("pki", pki.DIRECTORY))
    return Path(pki.DIRECTORY)


def outcome(returned: Any, *, dry_run: bool) -> HostOutcome:
    """What a highstate's return says of its host."""
    if isinstance(returned, Mapping) and check_result(returned):
        return HostOutcome(HostState.WOULD_CHANGE if dry_run else HostState.APPLIED)
    # In a trial a state that would change something has no result, which is no failure of its.
    if isinstance(returned, Mapping):
        returned = {
            key: state
            for key, state in returned.items()
            if not isinstance(state, Mapping) or state["result"] is not None
        }
    return HostOutcome(HostState.FAILED, salt_results.read(returned).failures().strip())


def summary(returned: Any, result: HostOutcome) -> str:
    """A host's outcome, and which states changed it, or would."""
    changed = [
        str(state.get("__id__", key))
        for key, state in (returned.items() if isinstance(returned, Mapping) else ())
        if isinstance(state, Mapping) and (state.get("changes") or state.get("result") is None)
    ]
    return f"{result}; changes: {', '.join(changed) or 'none'}"
