"""Services."""

from __future__ import annotations

from pillarbox.manifests import names
from pillarbox.manifests.manifest import Object
from pillarbox.manifests.scope import Scope, compact
from pillarbox.manifests.section import PillarSection

TYPES = ("ClusterIP", "NodePort", "LoadBalancer", "Headless")


def service(section: PillarSection, scope: Scope) -> Object | None:
    """The spec of the Service that stands beside a workload, without its selector; ``None`` where no port is given."""
    kind = section.choice("type", among=TYPES)
    ports = [_port(item, kind, scope) for item in section.items("ports")]
    address = section.text("cluster_ip")
    if kind == "Headless":
        kind, address = "ClusterIP", "None"
    spec = compact(
        type=kind,
        clusterIP=address,
        externalIPs=[*(section.words("external_ips") or ()), *(section.words("external_ip") or ())],
        loadBalancerIP=section.text("load_balancer_ip"),
        externalTrafficPolicy=section.choice("external_traffic_policy", among=("Cluster", "Local")),
        sessionAffinity=section.choice("session_affinity", among=("None", "ClientIP")),
        publishNotReadyAddresses=section.flag("publish_not_ready_addresses"),
        ports=ports,
    )
    whole = section.complete(spec, "core.v1.ServiceSpec", "selector")
    if not ports:
        if kind not in (None, "ClusterIP") or whole != spec:
            section.problem(f"a Service of type {kind or 'ClusterIP'} needs ports", key="ports")
        return None
    if len(ports) > 1 and any("name" not in port for port in ports):
        section.problem("several ports need a name each", key="ports")
    for field in ("name", "nodePort"):
        values = [port[field] for port in ports if field in port]
        for value in sorted({value for value in values if values.count(value) > 1}, key=str):
            section.problem(f"two ports have the {field} {value}", key="ports")
    return whole


def _port(section: PillarSection, kind: str | None, scope: Scope) -> Object:
    with section:
        # The server-side apply of Kubernetes 1.20 refuses a Service port without one.
        default = "TCP" if scope.version < (1, 23) else None
        port = section.port()
        if port is None and "port" not in section.given:
            section.problem("a port needs a number: port")
        target = section.value("target_port")
        named = isinstance(target, str) and not target.isdigit()
        node_port = section.port("node_port")
        if node_port is not None and kind not in ("NodePort", "LoadBalancer"):
            section.problem(
                f"node_port needs a Service of type NodePort or LoadBalancer, this one is {kind or 'ClusterIP'}"
            )
        found = compact(
            port=port,
            name=section.name("name"),
            protocol=section.choice("protocol", among=("TCP", "UDP", "SCTP"), default=default),
            targetPort=section.name("target_port", form=names.PORT) if named else section.port("target_port"),
            nodePort=node_port,
        )
        return section.complete(found, "core.v1.ServicePort")
