"""Highstates of hosts: one Salt job to all of them, and one to the masters when the others are well."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import salt.key
from salt.utils.state import check_result

from pillarbox import pki
from pillarbox.pipeline.hosts import HostOutcome, HostState
from pillarbox.salt.client import master_options, returns
from pillarbox.system import salt_results
from pillarbox.system.progress import Progress

FUNCTION = "state.highstate"


class Highstates:
    """A :class:`pillarbox.pipeline.hosts.ApplyStates` of the master's minions."""

    def __init__(self, opts: Mapping[str, Any]) -> None:
        self.opts = opts

    def __call__(
        self, hosts: Sequence[str], masters: Sequence[str], *, dry_run: bool, progress: Progress
    ) -> dict[str, HostOutcome]:
        """Apply the highstates. Raises :class:`PipelineError` when the master does not answer."""
        found: dict[str, HostOutcome] = {}
        for group in (hosts, masters):
            if dry_run or all(outcome.state is HostState.APPLIED for outcome in found.values()):
                returned = dict(self._outcomes(group, dry_run, progress))
                silent = HostOutcome(HostState.FAILED, "it gave no answer")
                found |= {host: returned.get(host, silent) for host in group}
            else:
                found |= dict.fromkeys(group, HostOutcome(HostState.NOT_REACHED))
        return found

    def forget(self, hosts: Sequence[str]) -> None:
        """Delete the hosts' keys on the master, and what was issued to them."""
        options = master_options(self.opts)
        keys = salt.key.get_key(options)
        for host in hosts:
            keys.delete_key(match=host)
            pki.forget(_pki(options), host)

    def _outcomes(self, hosts: Sequence[str], dry_run: bool, progress: Progress) -> Iterator[tuple[str, HostOutcome]]:
        test = {"test": True} if dry_run else {}
        for host, returned in returns(self.opts, hosts, FUNCTION, (), test):
            result = outcome(returned, dry_run=dry_run)
            progress.step(f"host {host}: {summary(returned, result)}")
            yield host, result


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
