"""NetworkPolicies: one for each workload whose traffic is limited, and those that the pillar writes out."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from pillarbox.manifests import dependencies, kinds, names, traffic
from pillarbox.manifests.errors import PillarPlace, Problems
from pillarbox.manifests.manifest import Manifest, Object
from pillarbox.manifests.references import mapping
from pillarbox.manifests.scope import Scope, compact
from pillarbox.manifests.section import PillarSection
from pillarbox.manifests.traffic import Peer, Traffic
from pillarbox.system.names import did_you_mean

_Ports = tuple[Object, ...]
# A peer as a NetworkPolicy has it, and the ports that it may use.
_Allowed = tuple[Mapping[str, Any], _Ports]


def network_policy(key: str, section: PillarSection, scope: Scope) -> Iterator[Manifest]:
    """One entry of ``kubernetes:control:network_policy``; without ``pods`` it is for all pods of the namespace."""
    with section:
        section.ignore("enabled")
        found = traffic.read(section)
        if found == Traffic():
            section.problem("expected from, to, or both; [] is nobody")
        yield scope.manifest(
            "NetworkPolicy",
            section.checked(section.text("name", default=key) or key, names.SUBDOMAIN),
            {"spec": {"podSelector": compact(matchLabels=section.texts("pods"))}},
            section.place,
            namespace=section.name("namespace"),
            labels=section.texts("labels"),
            annotations=section.texts("annotations"),
            traffic=found,
        )


def for_all_pods(obj: Mapping[str, Any]) -> bool:
    """Whether an object is a NetworkPolicy for all pods of its namespace."""
    return kinds.of(obj) is kinds.NETWORK_POLICY and not mapping(obj, "spec", "podSelector")


def completed(manifests: Iterable[Manifest], problems: Problems) -> tuple[Manifest, ...]:
    """``manifests`` with NetworkPolicies that say what they allow, without those of workloads that nothing limits.

    A connection is written once, at either end, and allowed at both, where the end is limited: by its own entry,
    or by a policy for all pods of its namespace. The policy of a workload holds what those allow, too: one object says
    all that a pod may, so it is in effect at once, whatever is applied before and after it.
    """
    found = tuple(manifests)
    ends = _Ends(found, problems)
    ends.connect()
    return tuple(
        whole for each in found if (whole := each if each.traffic is None else ends.policy(each.place)) is not None
    )


@dataclass
class _End:
    """The pods that one policy is for: what they answer at, and what is allowed so far."""

    policy: Manifest
    workload: Manifest | None
    service: Manifest | None
    sources: list[_Allowed] = field(default_factory=list)
    destinations: list[_Allowed] = field(default_factory=list)

    @property
    def traffic(self) -> Traffic:
        assert self.policy.traffic is not None
        return self.policy.traffic

    @property
    def pods(self) -> Object:
        found: Object = self.policy.object["spec"]["podSelector"]
        return found

    def ports(self) -> tuple[_Ports, dict[int | str, Object]]:
        """The ports that its Service leads to, else those of its containers; and all of these by number and name."""
        known: dict[int | str, Object] = {}
        for container in self.workload.containers() if self.workload else ():
            for port in container.get("ports", ()):
                known[port["containerPort"]] = _port(port["containerPort"], port)
                if "name" in port:
                    known[port["name"]] = known[port["containerPort"]]
        offered = list(known.values())
        if self.service:
            offered = []
            for port in self.service.object["spec"]["ports"]:
                target = port.get("targetPort", port["port"])
                offered.append(known.get(target) or _port(target, port))
                known |= {port["name"]: offered[-1]} if "name" in port else {}
        return tuple({json.dumps(port): port for port in offered}.values()), known


class _Ends:
    def __init__(self, manifests: tuple[Manifest, ...], problems: Problems) -> None:
        self._problems = problems
        self._find = dependencies.finder(manifests)
        self._units = [each for each in manifests if each.workload]
        workloads = {each.place: each for each in self._units}
        services = {each.place: each for each in manifests if each.type is kinds.SERVICE and each.unit is None}
        self._all = {
            each.place: _End(each, workloads.get(each.place), services.get(each.place))
            for each in manifests
            if each.traffic is not None
        }

    def connect(self) -> None:
        """Note for every end what the pillar allows, there and at the other end."""
        for end in self._all.values():
            if end.traffic != Traffic() and _of_host(end.workload):
                text = "pods that share their host's network have its addresses, and no NetworkPolicy is for them"
                self._problems.add(end.policy.place / "network", text, "Leave out network, or host_network.")
            for peer in end.traffic.sources or ():
                ports = self._ports(end, peer)
                if peer.unit is None:
                    end.sources.append((peer.selector, ports))
                elif client := self._named(end, peer):
                    _connect(client, end, ports)
            for peer in end.traffic.destinations or ():
                if peer.unit is None:
                    end.destinations.append((peer.selector, self._ports(None, peer)))
                elif server := self._named(end, peer):
                    _connect(end, server, self._ports(server, peer))

    def policy(self, place: PillarPlace) -> Manifest | None:
        """The policy of an end; ``None`` for a workload that needs none of its own."""
        end = self._all[place]
        whole = [end]
        if end.workload is not None:
            if end.traffic == Traffic() and not end.sources and not end.destinations:
                return None
            where = (end.policy.deployment, end.policy.namespace)
            whole += [
                each
                for each in self._all.values()
                if (each.policy.deployment, each.policy.namespace) == where and for_all_pods(each.policy.object)
            ]
        spec: Object = {"podSelector": end.pods, "policyTypes": []}
        if any(each.traffic.sources is not None for each in whole):
            spec["policyTypes"].append("Ingress")
            spec |= compact(ingress=_rules("from", [each for one in whole for each in one.sources]))
        if any(each.traffic.destinations is not None for each in whole):
            spec["policyTypes"].append("Egress")
            spec |= compact(egress=_rules("to", [each for one in whole for each in one.destinations]))
        if not spec["policyTypes"]:
            return None
        return end.policy.with_object({**end.policy.object, "spec": spec})

    def _named(self, end: _End, peer: Peer) -> _End | None:
        """The workload that a peer calls by its unit; ``None`` is reported."""
        unit = self._find(end.policy, str(peer.unit))
        if unit is None or unit.workload is None:
            known = [str(each.unit) for each in self._units if each.deployment == end.policy.deployment]
            hint = f"Expected {traffic.FORMS}."
            self._problems.add(peer.place, f"the model has no {peer.unit}", did_you_mean(str(peer.unit), known) or hint)
            return None
        if _of_host(unit):
            hint = "Name the addresses of the hosts instead."
            self._problems.add(peer.place, f"the pods of {peer.unit} share their host's network", hint)
            return None
        return self._all[unit.place]

    def _ports(self, server: _End | None, peer: Peer) -> _Ports:
        """The ports of ``server`` (``None``: of somebody outside) that a peer may use; none stands for all of them."""
        offered, known = server.ports() if server else ((), {})
        workload = server and server.workload
        if workload and not peer.ports and not offered:
            self._problems.add(peer.place, f"{workload.unit} has no ports", "Give its containers ports.")
        chosen = []
        for port in peer.ports:
            if isinstance(port, Mapping):
                chosen.append(dict(port))
            elif port in known:
                chosen.append(known[port])
            elif workload:
                hint = did_you_mean(str(port), map(str, known)) or f"It has {', '.join(map(str, known)) or 'none'}."
                self._problems.add(peer.place / "ports", f"{workload.unit} has no port {port}", hint)
            elif isinstance(port, str):
                hint = "What pods outside the model call their ports is not known here."
                self._problems.add(peer.place / "ports", f"expected a number, found {port}", hint)
            else:
                chosen.append({"port": port})
        return tuple(chosen) or offered


def _of_host(workload: Manifest | None) -> bool:
    return workload is not None and bool((workload.template or {})["spec"].get("hostNetwork"))


def _port(number: int | str, like: Mapping[str, Any]) -> Object:
    protocol = like.get("protocol", "TCP")
    return {"port": number, **({} if protocol == "TCP" else {"protocol": protocol})}


def _connect(client: _End, server: _End, ports: _Ports) -> None:
    server.sources.append((_seen(client, server), ports))
    client.destinations.append((_seen(server, client), ports))


def _seen(peer: _End, by: _End) -> Object:
    """A peer as the policy of another end has it."""
    found: Object = {"podSelector": peer.pods}
    if by.policy.namespace != peer.policy.namespace:
        found["namespaceSelector"] = traffic.namespace_selector(str(peer.policy.namespace))
    return found


def _rules(key: str, allowed: Iterable[_Allowed]) -> list[Object]:
    """The rules of one direction: a rule for all peers that may use the same ports."""
    grouped: dict[str, tuple[_Ports, list[Mapping[str, Any]]]] = {}
    for peer, ports in allowed:
        ordered = tuple(sorted(ports, key=lambda port: (port["port"], json.dumps(port))))
        grouped.setdefault(json.dumps(ordered), (ordered, []))[1].append(peer)
    rules = []
    for _, (ports, peers) in sorted(grouped.items()):
        # A rule without peers is for everybody.
        rules.append(compact(**{key: _merged(peers) if all(peers) else [], "ports": list(ports)}))
    return rules


def _merged(peers: list[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """``peers`` without repetition, pods that one label tells apart in one selector."""
    apps: dict[str, tuple[Object, set[str]]] = {}
    others: dict[str, Mapping[str, Any]] = {}
    for peer in peers:
        labels = peer.get("podSelector", {}).get("matchLabels", {})
        if list(labels) == ["app"]:
            rest = {field: value for field, value in peer.items() if field != "podSelector"}
            apps.setdefault(json.dumps(rest), (rest, set()))[1].add(labels["app"])
        else:
            others[json.dumps(peer, sort_keys=True)] = peer
    found: list[Mapping[str, Any]] = []
    for _, (rest, values) in sorted(apps.items()):
        one: Object = {"matchLabels": {"app": min(values)}}
        several: Object = {"matchExpressions": [{"key": "app", "operator": "In", "values": sorted(values)}]}
        found.append({"podSelector": one if len(values) == 1 else several, **rest})
    return [*found, *(others[text] for text in sorted(others))]
