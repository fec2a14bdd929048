"""Clearing away old images on hosts: one Salt job to all builders, and the states that the model names for it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pillarbox.images.collection import Needed
from pillarbox.model import Node
from pillarbox.pipeline.hosts import HostOutcome, HostState
from pillarbox.salt.builders import builders
from pillarbox.salt.client import returns
from pillarbox.salt.hosts import outcome
from pillarbox.system.progress import Progress

FUNCTION = "pillarbox.clear_images"
STATES = "state.apply"


class Leftovers:
    """A :class:`pillarbox.pipeline.collection.ClearHosts` of the master's minions."""

    def __init__(self, opts: Mapping[str, Any]) -> None:
        self.opts = opts

    def __call__(
        self, hosts: Mapping[str, Node], needed: Needed, *, dry_run: bool, progress: Progress
    ) -> dict[str, HostOutcome]:
        """Clear the engines of builders, and apply the states in a host's ``pillarbox:collect``: what they free is in
        the progress. Raises :class:`PipelineError` when the master does not answer."""
        found: dict[str, HostOutcome] = {}
        arguments = {"names": sorted(needed.names), "prefixes": sorted(folder.prefix for folder in needed.folders)}
        done = HostState.WOULD_CHANGE if dry_run else HostState.APPLIED
        for host, returned in self._returns(builders(hosts.values()), FUNCTION, **arguments, dry_run=dry_run):
            if isinstance(returned, list):
                forgets = "would forget" if dry_run else "forgot"
                progress.step(f"host {host}: its engine {forgets} {len(returned)} images")
                found[host] = HostOutcome(done)
            else:
                found[host] = HostOutcome(HostState.FAILED, str(returned))
        for name, node in sorted(hosts.items()):
            states = (node.parameters.get("pillarbox") or {}).get("collect") or ()
            # What such a state does begins with what is deleted already, so a trial of it would say nothing.
            for host, returned in self._returns([name] if states and not dry_run else [], STATES, ",".join(states)):
                result = outcome(returned, dry_run=False)
                for line in _output(returned):
                    progress.step(f"host {host}: {line}")
                if result.state is HostState.FAILED or host not in found:
                    found[host] = result
        return found

    def _returns(self, hosts: Sequence[str], function: str, *given: Any, **arguments: Any) -> Iterator[tuple[str, Any]]:
        silent = dict.fromkeys(hosts)
        for host, returned in returns(self.opts, hosts, function, given, arguments):
            silent.pop(host, None)
            yield host, returned
        for host in silent:
            yield host, "it gave no answer"


def _output(returned: Any) -> Iterator[str]:
    """What the programs printed that states ran."""
    for state in returned.values() if isinstance(returned, Mapping) else ():
        changes = state.get("changes") if isinstance(state, Mapping) else None
        if isinstance(changes, Mapping):
            yield from str(changes.get("stdout") or "").splitlines()
