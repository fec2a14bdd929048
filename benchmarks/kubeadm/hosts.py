"""Hosts of a lab that nobody but a benchmark makes something of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from docker.models.containers import Container

from pillarbox.lab import hosts, shell, status
from pillarbox.lab.settings import LabSettings


class Host(Protocol):
    """A machine that a cluster is made of."""

    @property
    def name(self) -> str: ...

    @property
    def address(self) -> str: ...

    def run(self, script: str) -> str:
        """What a shell script printed there. Raises with its last lines when it fails."""

    def put(self, path: str, content: str, mode: int = 0o644) -> None:
        """Write a file there."""


@dataclass(frozen=True)
class LabHost:
    """A host of a lab, through its container engine."""

    name: str
    address: str
    container: Container

    def run(self, script: str) -> str:
        what = " ".join(script.split()[:6])
        return shell.run(self.container, ["sh", "-ec", script], what=what).out

    def put(self, path: str, content: str, mode: int = 0o644) -> None:
        shell.put(self.container, path, content, mode)


def of_lab(settings: LabSettings) -> dict[str, LabHost]:
    """The hosts of a lab that runs."""
    engine, layout = status.connect(settings)
    return {
        host.name: LabHost(host.name, str(host.address), hosts.running(settings, engine, host.name))
        for host in layout.hosts
    }
