"""What of a deployment is backed up: data of workloads, and what commands on the master give."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pillarbox.model import Node
from pillarbox.model.merge.query import MISSING, lookup
from pillarbox.pipeline.errors import PipelineError
from pillarbox.rollout import ObjectRef
from pillarbox.system import streams

_NAME = re.compile(r"[a-z0-9][a-z0-9-]*")


@dataclass(frozen=True)
class HostSource:
    """What a command on the master writes to standard output, from the pillar ``pillarbox:backup:source`` there.

    ``restore`` is the command that reads it back; or ``states`` do it, which are applied to ``hosts``.
    """

    name: str
    command: tuple[str, ...]
    restore: tuple[str, ...]
    states: tuple[str, ...]
    hosts: tuple[str, ...]

    def known(self) -> dict[str, Any]:
        """Nothing has to be known beside the data."""
        return {}

    def read(self) -> Iterator[bytes]:
        """What the command writes. Raises :class:`CommandError` when it fails."""
        return streams.output(self.command)

    def outdated(self, known: Mapping[str, Any]) -> tuple[ObjectRef, ...]:
        """No Job depends on it."""
        return ()

    def write(self, content: Iterable[bytes], size: int, known: Mapping[str, Any]) -> str:
        """Have the command for it read ``content``; returns what it prints. Raises :class:`CommandError`."""
        return streams.feed(self.restore, content)


def of_masters(hosts: Mapping[str, Node]) -> tuple[HostSource, ...]:
    """What the model says is backed up with commands on the master. Raises :class:`PipelineError`."""
    masters = [node for node in hosts.values() if "master" in node.parameters["salt"]]
    found = dict[str, HostSource]()
    for node in masters:
        for name, given in ((node.parameters.get("pillarbox") or {}).get("backup") or {}).get("source", {}).items():
            found[name] = _source(name, given, node, hosts)
    return tuple(found[name] for name in sorted(found))


def _source(name: str, given: Any, node: Node, hosts: Mapping[str, Node]) -> HostSource:
    place = f"pillarbox:backup:source:{name}"
    if not _NAME.fullmatch(name):
        raise PipelineError(f"{place}: expected a name of lower-case letters, digits and dashes", file=node.file)
    command, restore = _words(given, "command"), _words(given, "restore_command")
    states = given.get("restore_states") if isinstance(given, Mapping) else None
    if not command or bool(restore) == bool(states):
        raise PipelineError(f"{place}: expected command, and either restore_command or restore_states", file=node.file)
    if not states:
        return HostSource(name, command, restore, (), ())
    path = tuple(str(states["hosts"]).split(":"))
    targets = tuple(name for name, host in sorted(hosts.items()) if lookup(host.parameters, path) is not MISSING)
    return HostSource(name, command, (), tuple(states["states"]), targets)


def _words(given: Any, key: str) -> tuple[str, ...]:
    value = given.get(key) if isinstance(given, Mapping) else None
    return tuple(shlex.split(value) if isinstance(value, str) else map(str, value or ()))
