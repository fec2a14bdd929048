"""Who reaches whom: by rendered NetworkPolicies, as the API's reference has them taken, and in a cluster."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from typing import Any

from pillarbox.system.waiting import until


@dataclass(frozen=True)
class End:
    """A pod with its label ``app``, or an address outside of the cluster."""

    app: str = ""
    namespace: str = "default"
    address: str = ""


def reaches(policies: Iterable[Mapping[str, Any]], client: End, server: End, port: int, protocol: str = "TCP") -> bool:
    """Whether ``client`` can open a connection to ``server``."""
    found = list(policies)
    return _may(found, client, server, port, protocol, "Egress", "to") and _may(
        found, server, client, port, protocol, "Ingress", "from"
    )


def asking(command: str) -> str:
    """A shell script that prints which of its arguments answer, all asked at the same time, each by this command, in
    which it is ``$each``."""
    return f'for each; do {{ timeout 5 {command} > /dev/null 2>&1 && echo "$each"; }} & done; wait'


def soon(client: str, targets: Mapping[str, bool], asked: Callable[[], str], *, patience: float) -> None:
    """Assert that a client has answers of targets that are true, within so many seconds, and never of another.

    ``asked`` asks all of them and gives what the script printed.
    """
    allowed = {target for target, may in targets.items() if may}

    def so() -> bool:
        found = set(asked().split())
        assert found <= allowed, (client, found - allowed)
        return found == allowed

    assert until(so, f"{client} to reach {allowed}", patience=patience), (client, allowed)


def _may(
    policies: list[Mapping[str, Any]], end: End, other: End, port: int, protocol: str, direction: str, key: str
) -> bool:
    mine = [
        each["spec"]
        for each in policies
        if direction in each["spec"]["policyTypes"]
        and not end.address
        and each["metadata"]["namespace"] == end.namespace
        and _selected(each["spec"]["podSelector"], {"app": end.app})
    ]
    rules = [rule for spec in mine for rule in spec.get(direction.lower(), ())]
    return not mine or any(
        (key not in rule or any(_is(peer, other, end.namespace) for peer in rule[key]))
        and ("ports" not in rule or any(_covers(each, port, protocol) for each in rule["ports"]))
        for rule in rules
    )


def _is(peer: Mapping[str, Any], other: End, own: str) -> bool:
    if "ipBlock" in peer:
        return bool(other.address) and ip_address(other.address) in ip_network(peer["ipBlock"]["cidr"])
    if other.address:
        return False
    if "namespaceSelector" in peer:
        place = _selected(peer["namespaceSelector"], {"kubernetes.io/metadata.name": other.namespace})
    else:
        place = other.namespace == own
    return place and _selected(peer.get("podSelector", {}), {"app": other.app})


def _selected(selector: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    for each in selector.get("matchExpressions", ()):
        assert each["operator"] == "In"
        if labels.get(each["key"]) not in each["values"]:
            return False
    return selector.get("matchLabels", {}).items() <= labels.items()


def _covers(given: Mapping[str, Any], port: int, protocol: str) -> bool:
    assert isinstance(given["port"], int)
    return given.get("protocol", "TCP") == protocol and given["port"] <= port <= given.get("endPort", given["port"])
