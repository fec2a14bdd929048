"""The states of hosts, which a deploy applies before it touches a cluster."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from pillarbox.system.progress import Progress


class HostState(StrEnum):
    """What became of a host."""

    APPLIED = "states applied"
    #: What is on record of one whose deploy was cut off meanwhile.
    APPLYING = "states being applied"
    WOULD_CHANGE = "would change"
    FAILED = "failed"
    NOT_REACHED = "not reached"
    REMOVED = "removed: its key and certificates are forgotten"
    WOULD_BE_REMOVED = "would be removed"


@dataclass(frozen=True)
class HostOutcome:
    """What became of a host, and for one that failed: why."""

    state: HostState
    why: str = ""

    def __str__(self) -> str:
        return f"{self.state}: {self.why}" if self.why else str(self.state)


class ApplyStates(Protocol):
    """Applies the highstates of ``hosts``, or only the ``states``, at the same time, and returns what became of each;
    ``dry_run`` changes none."""

    def __call__(
        self, hosts: Sequence[str], states: Sequence[str] = (), *, dry_run: bool, progress: Progress
    ) -> Mapping[str, HostOutcome]: ...

    def clocks(self, hosts: Sequence[str]) -> Mapping[str, float]:
        """How many seconds the clock of each host is ahead of the master's at least; behind it where it is negative.
        Hosts that give no answer are left out."""

    def forget(self, hosts: Sequence[str]) -> None:
        """Trust ``hosts`` no longer: no job and no pillar is theirs from then on, and no certificate is kept for them.
        Those that are not known are fine."""
