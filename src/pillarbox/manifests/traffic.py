"""Whom pods answer, and whom they ask: what the pillar says, and a NetworkPolicy is made of."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from pillarbox.manifests import names
from pillarbox.manifests.errors import PillarPlace
from pillarbox.manifests.section import PillarSection

#: The peer that is everybody, in the cluster and outside.
ALL = "all"
FORMS = f"service/<name>, job/<name>, {ALL}, addresses such as 192.0.2.0/24, or {{pods: <labels>}}"
#: The label that every namespace has by itself, from Kubernetes 1.21 on.
_NAMESPACE = "kubernetes.io/metadata.name"


@dataclass(frozen=True)
class Peer:
    """One line of ``from`` or ``to``.

    ``unit`` is how it calls a workload of the model; of anybody else ``selector`` is the peer as a NetworkPolicy has
    it, empty for everybody. ``ports`` are those of the pods that answer: a number or a name of one of their own ports,
    or a port as a NetworkPolicy has it. None stands for all.
    """

    place: PillarPlace = field(compare=False)
    unit: str | None = None
    selector: Mapping[str, Any] = field(default_factory=dict, hash=False)
    ports: tuple[int | str | Mapping[str, Any], ...] = field(default=(), hash=False)


@dataclass(frozen=True)
class Traffic:
    """``sources`` may open connections to the pods, and the pods to ``destinations``; ``None``: nothing limits that."""

    sources: tuple[Peer, ...] | None = None
    destinations: tuple[Peer, ...] | None = None


def of_workload(section: PillarSection) -> Traffic:
    """What the key ``network`` of a service or job says."""
    with section.section("network") as given:
        return read(given)


def read(section: PillarSection) -> Traffic:
    """What the keys ``from`` and ``to`` say."""
    return Traffic(_peers(section, "from"), _peers(section, "to"))


def namespace_selector(name: str) -> dict[str, Any]:
    """A NetworkPolicy's selector of one namespace."""
    return {"matchLabels": {_NAMESPACE: name}}


def _peers(section: PillarSection, key: str) -> tuple[Peer, ...] | None:
    if key in section.empty:
        section.problem("expected a list, found nothing", "Write [] for nobody.", key=key)
    if section.value(key) is None:
        return None
    return tuple(_peer(item) for item in section.items(key, short="peer"))


def _peer(section: PillarSection) -> Peer:
    with section:
        ports = tuple(_ports(section))
        text, namespace, pods = section.text("peer"), section.name("namespace"), section.texts("pods")
        if text is None:
            if not namespace and not pods:
                section.problem("expected a peer, or pods by their labels or namespace", f"Known: {FORMS}.")
            selector: dict[str, Any] = {"podSelector": {"matchLabels": pods}} if pods else {}
            if namespace:
                selector["namespaceSelector"] = namespace_selector(namespace)
            return Peer(section.place, selector=selector, ports=ports)
        if namespace or pods:
            section.problem("a peer has no namespace and no pods beside it")
        if text == ALL:
            return Peer(section.place, ports=ports)
        try:
            addresses = ipaddress.ip_network(text, strict=False)
        except ValueError:
            return Peer(section.place, text, ports=ports)
        return Peer(section.place, selector={"ipBlock": {"cidr": str(addresses)}}, ports=ports)


def _ports(section: PillarSection) -> Iterator[int | str | Mapping[str, Any]]:
    for item in section.items("ports", short="port"):
        with item:
            value = item.value("port")
            if isinstance(value, str) and not value.isdigit():
                if item.given != {"port"}:
                    item.problem("a port's name has nothing beside it")
                    item.ignore(*item.given)
                yield item.checked(value, names.PORT)
                continue
            first, last = item.port(), item.port("end_port")
            protocol = item.choice("protocol", among=("TCP", "UDP", "SCTP"), default="TCP")
            if first is None:
                if value is None:
                    item.problem("a port needs a number or a name: port")
            elif item.given == {"port"}:
                yield first
            else:
                if last is not None and last < first:
                    item.problem(f"expected at least {first}, found {last}", key="end_port")
                extra = {"protocol": protocol} if protocol != "TCP" else {}
                yield {"port": first, **extra, **({} if last is None else {"endPort": last})}
