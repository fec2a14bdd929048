"""Which hosts a lab has: read from the model, nowhere else."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pillarbox.lab.errors import LabError
from pillarbox.model import Inventory, Node
from pillarbox.system.errors import PillarboxError, raise_all

_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]*")


@dataclass(frozen=True)
class Network:
    """The network that the lab's hosts share; the engine's own address on it is the first one."""

    name: str
    subnet: ipaddress.IPv4Network

    @property
    def gateway(self) -> ipaddress.IPv4Address:
        return self.subnet.network_address + 1


@dataclass(frozen=True)
class LabHost:
    """One host of the lab. Volumes are (name, mount path) pairs; those in ``shared`` are one volume for all hosts."""

    name: str
    address: ipaddress.IPv4Address
    volumes: tuple[tuple[str, str], ...] = ()
    shared: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Layout:
    """The lab as its model describes it: ``master`` is the host that the Salt master runs on."""

    network: Network
    hosts: tuple[LabHost, ...]
    master: str

    def host(self, name: str) -> LabHost:
        """The host of that name. Raises :class:`LabError` for one the model does not have."""
        for host in self.hosts:
            if host.name == name:
                return host
        raise LabError(f"the lab has no host {name}; it has {', '.join(host.name for host in self.hosts)}")


def read(inventory: Inventory) -> Layout:
    """The layout of ``inventory``: its nodes with ``lab:host``.

    Raises :class:`LabError` when there is none, when two claim one address, when an address is outside the network,
    when the hosts disagree about the network, and unless exactly one of them has the role ``salt:master``.
    """
    nodes = [node for node in inventory.all() if _mapping(node, "lab").get("host")]
    if not nodes:
        raise LabError(f"no node of {inventory.path} has lab:host", hint="A lab host is a node with lab:host:address.")
    errors: list[PillarboxError] = []
    networks: dict[Network, Node] = {}
    hosts, masters = [], []
    for node in nodes:
        try:
            networks.setdefault(_network(node), node)
            hosts.append(_host(node))
        except LabError as error:
            errors.append(error)
        if _mapping(node, "salt").get("master"):
            masters.append(node)
    raise_all(errors)
    if len(networks) > 1:
        named = "; ".join(f"{node.name} has {net.name} {net.subnet}" for net, node in networks.items())
        raise LabError(f"the lab's hosts must share one network, but {named}", file=nodes[-1].file)
    network = next(iter(networks))
    errors.extend(_addresses(network, hosts, nodes))
    raise_all(errors)
    if len(masters) != 1:
        found = ", ".join(node.name for node in masters) or "none"
        raise LabError(f"one host of a lab must have salt:master; found {found}", file=nodes[0].file)
    return Layout(network, tuple(hosts), masters[0].name)


def _mapping(node: Node, key: str) -> Mapping[str, Any]:
    value = node.parameters.get(key)
    return value if isinstance(value, Mapping) else {}


def _network(node: Node) -> Network:
    pillar = _mapping(node, "lab").get("network") or {}
    name, subnet = pillar.get("name"), pillar.get("subnet")
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise LabError(f"node {node.name}: lab:network:name is {name!r}, expected a name", file=node.file)
    try:
        return Network(name, ipaddress.IPv4Network(subnet))
    except ValueError as error:
        raise LabError(f"node {node.name}: lab:network:subnet: {error}", file=node.file) from error


def _host(node: Node) -> LabHost:
    pillar = _mapping(node, "lab")["host"]
    if not re.fullmatch(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", node.name):
        raise LabError(
            f"node {node.name}: a lab host's name is its host name: lower case letters, digits and dashes",
            file=node.file,
        )
    try:
        address = ipaddress.IPv4Address(pillar.get("address"))
    except ValueError as error:
        raise LabError(f"node {node.name}: lab:host:address: {error}", file=node.file) from error
    return LabHost(node.name, address, _volumes(node, "volumes"), _volumes(node, "shared_volumes"))


def _volumes(node: Node, kind: str) -> tuple[tuple[str, str], ...]:
    volumes = _mapping(node, "lab")["host"].get(kind) or {}
    for name, path in volumes.items():
        if not _NAME.fullmatch(str(name)) or not str(path).startswith("/"):
            raise LabError(
                f"node {node.name}: lab:host:{kind}: expected <name>: </absolute/path>, found {name}: {path}",
                file=node.file,
            )
    return tuple(sorted((str(name), str(path)) for name, path in volumes.items()))


def _addresses(network: Network, hosts: list[LabHost], nodes: list[Node]) -> list[PillarboxError]:
    errors: list[PillarboxError] = []
    taken: dict[ipaddress.IPv4Address, str] = {network.gateway: "the engine's gateway"}
    for host, node in zip(hosts, nodes, strict=True):
        if host.address not in network.subnet:
            errors.append(LabError(f"node {host.name}: {host.address} is not in {network.subnet}", file=node.file))
        elif host.address in taken:
            errors.append(
                LabError(f"node {host.name}: {host.address} is taken by {taken[host.address]}", file=node.file)
            )
        taken.setdefault(host.address, host.name)
    return errors
