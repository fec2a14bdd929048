"""What a lab is doing now: its hosts, its model, its last runs."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import Any

from docker.models.containers import Container

from pillarbox.lab import copy, hosts, layout, parallel, pipeline, repository, shell
from pillarbox.lab import engine as engines
from pillarbox.lab.engine import LabEngine
from pillarbox.lab.errors import LabError
from pillarbox.lab.settings import LabSettings
from pillarbox.model import Inventory
from pillarbox.system.errors import PillarboxError


@dataclass(frozen=True)
class HostStatus:
    """One host: its container's state, systemd's, units that failed, and its share of the machine's memory."""

    name: str
    address: str
    roles: tuple[str, ...]
    container: str
    system: str = ""
    failed: tuple[str, ...] = ()


@dataclass(frozen=True)
class WorkloadStatus:
    """Pods of one name on the cluster: how many are ready, and on which hosts."""

    name: str
    ready: int
    wanted: int
    hosts: tuple[str, ...]


@dataclass(frozen=True)
class Status:
    """A lab as a whole."""

    name: str
    engine: str
    hosts: tuple[HostStatus, ...]
    pushed: str | None = None
    built: str | None = None
    served: str | None = None
    deployed: str | None = None
    workloads: tuple[WorkloadStatus, ...] = ()
    services: tuple[tuple[str, str], ...] = field(default=())

    @property
    def healthy(self) -> bool:
        """Whether every host runs without failed units and every workload is ready."""
        return all(host.system == "running" for host in self.hosts) and all(w.ready >= w.wanted for w in self.workloads)

    def as_dict(self) -> dict[str, Any]:
        return {**asdict(self), "healthy": self.healthy}


def connect(settings: LabSettings) -> tuple[LabEngine, layout.Layout]:
    """The lab's engine and layout. Raises :class:`LabError` when there is no lab."""
    if not settings.state.is_dir():
        raise LabError(f"there is no lab {settings.name}", hint="`make lab` makes one.")
    engine = engines.find(settings)
    if engine is None:
        raise LabError("the lab's container engine does not run", hint="`make lab` starts it.")
    return engine, layout.read(Inventory(copy.place(settings)))


def read(settings: LabSettings) -> Status:
    """Look at the lab. What cannot be read (a host that is down) is left out, not an error."""
    engine, shape = connect(settings)
    inventory = Inventory(copy.place(settings))

    def one(host: layout.LabHost) -> HostStatus:
        roles = inventory.node(host.name).applications
        container = hosts.find(settings, engine, host.name)
        if container is None:
            return HostStatus(host.name, str(host.address), roles, "missing")
        if container.status != "running":
            return HostStatus(host.name, str(host.address), roles, container.status)
        system = shell.run(container, ["systemctl", "is-system-running"], check=False).out.strip()
        units = shell.run(container, ["systemctl", "--failed", "--plain", "--no-legend"], check=False).out
        failed = tuple(line.split()[0] for line in units.splitlines() if line.split())
        return HostStatus(host.name, str(host.address), roles, "running", system, failed)

    found = tuple(parallel.each(one, shape.hosts))
    status = Status(settings.name, engine.address, found)
    master = hosts.find(settings, engine, shape.master)
    if master is None or master.status != "running":
        return status
    try:
        pushed = repository.head(master, repository.read(inventory, shape))
    except PillarboxError:
        pushed = None
    workloads, services = _cluster(master, shape)
    return Status(
        settings.name,
        engine.address,
        found,
        pushed,
        pipeline.newest(master, "build"),
        pipeline.served(master),
        pipeline.newest(master, "deploy"),
        workloads,
        services,
    )


def _cluster(master: Container, shape: layout.Layout) -> tuple[tuple[WorkloadStatus, ...], tuple[tuple[str, str], ...]]:
    """Pods by workload and services with a node port, from the master's kubectl; nothing while there is no cluster."""
    command = ["kubectl", "--request-timeout=5s", "get", "pods,services,nodes", "--all-namespaces", "--output=json"]
    found = shell.run(master, command, check=False)
    if found.code != 0:
        return (), ()
    pods: dict[str, list[tuple[bool, str]]] = {}
    services, nodes = [], []
    for item in json.loads(found.out)["items"]:
        metadata, spec, state = item["metadata"], item.get("spec", {}), item.get("status", {})
        if item["kind"] == "Node":
            addresses = [each["address"] for each in state.get("addresses", []) if each["type"] == "InternalIP"]
            nodes += addresses
        elif item["kind"] == "Pod":
            owner = (metadata.get("ownerReferences") or [{}])[0]
            if owner.get("kind") == "Job":
                continue
            name = owner.get("name", metadata["name"])
            if owner.get("kind") == "ReplicaSet":
                name = name.rsplit("-", 1)[0]
            conditions = {each["type"]: each["status"] for each in state.get("conditions", [])}
            pods.setdefault(name, []).append((conditions.get("Ready") == "True", spec.get("nodeName", "")))
        else:
            ports = [port["nodePort"] for port in spec.get("ports", []) if port.get("nodePort")]
            services += [(metadata["name"], port) for port in ports]
    workloads = tuple(
        WorkloadStatus(
            name, sum(ready for ready, _ in found), len(found), tuple(sorted({host for _, host in found if host}))
        )
        for name, found in sorted(pods.items())
    )
    entry = sorted(nodes)[0] if nodes else str(shape.hosts[0].address)
    return workloads, tuple(sorted((name, f"{entry}:{port}") for name, port in services))
