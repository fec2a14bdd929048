"""The network that the lab's hosts share."""

from __future__ import annotations

import ipaddress
import subprocess
from collections.abc import Iterable

import docker
from docker.models.networks import Network as EngineNetwork

from pillarbox.lab.engine import LabEngine
from pillarbox.lab.errors import LabError
from pillarbox.lab.layout import Network
from pillarbox.lab.settings import LabSettings


def ensure(settings: LabSettings, engine: LabEngine, network: Network) -> EngineNetwork:
    """The engine's network for ``network``, made if missing.

    Raises :class:`LabError` when its subnet collides with a route or another network of the machine, or when the name
    belongs to something else.
    """
    existing = find(engine, network.name)
    if existing is not None:
        subnets = [each.get("Subnet") for each in existing.attrs["IPAM"]["Config"] or []]
        owner = (existing.attrs.get("Labels") or {}).get("pillarbox.lab")
        if owner == settings.name and subnets == [str(network.subnet)]:
            return existing
        if owner != settings.name:
            whose = f"lab {owner}" if owner else "something else"
            raise LabError(
                f"the engine has a network {network.name} that belongs to {whose}",
                hint="Give the lab's network another lab:network:name in the model, or remove that one.",
            )
        if existing.attrs.get("Containers"):
            raise LabError(
                f"{network.name} is {network.subnet} in the model, but the lab runs on {', '.join(map(str, subnets))}",
                hint="A running lab cannot move: `make lab-clean`, then `make lab`.",
            )
        existing.remove()
    collision = colliding(network.subnet, _machine_routes() + _engine_subnets(engine))
    if collision:
        raise LabError(
            f"the lab's network {network.subnet} collides with {collision} of this machine",
            hint="Set another lab:network:subnet in the model (of the reference: lab_prefix in classes/cluster/lab).",
        )
    pool = docker.types.IPAMPool(subnet=str(network.subnet), gateway=str(network.gateway))
    return engine.client.networks.create(
        network.name,
        driver="bridge",
        ipam=docker.types.IPAMConfig(pool_configs=[pool]),
        labels={"pillarbox.lab": settings.name},
    )


def find(engine: LabEngine, name: str) -> EngineNetwork | None:
    for network in engine.client.networks.list(names=[name]):
        if network.name == name:
            network.reload()
            return network
    return None


def colliding(subnet: ipaddress.IPv4Network, others: Iterable[str]) -> str | None:
    """The first of ``others`` that shares addresses with ``subnet``; default routes share them with everybody."""
    for other in others:
        try:
            network = ipaddress.IPv4Network(other, strict=False)
        except ValueError:
            continue
        if network.prefixlen and network.overlaps(subnet):
            return other
    return None


def _machine_routes() -> list[str]:
    try:
        output = subprocess.run(["ip", "-4", "route", "show"], capture_output=True, text=True, check=False).stdout
    except FileNotFoundError:
        return []
    return [line.split()[0] for line in output.splitlines() if line]


def _engine_subnets(engine: LabEngine) -> list[str]:
    found = []
    for network in engine.client.networks.list():
        for config in (network.attrs.get("IPAM") or {}).get("Config") or []:
            if config.get("Subnet"):
                found.append(config["Subnet"])
    return found
