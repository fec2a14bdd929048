"""Ways in and out of the cluster: Ingresses, and Services that stand for servers outside."""

from __future__ import annotations

from collections.abc import Iterator

from pillarbox.manifests import names
from pillarbox.manifests.manifest import Manifest, Object
from pillarbox.manifests.scope import Scope, compact
from pillarbox.manifests.section import PillarSection
from pillarbox.manifests.services import service


def ingress(key: str, section: PillarSection, scope: Scope) -> Iterator[Manifest]:
    """One entry of ``kubernetes:control:ingress``."""
    with section:
        section.ignore("enabled", "create", "cluster", "api_version")
        name = section.checked(section.text("name", default=key) or key, names.SUBDOMAIN)
        with section.section("rules") as rules:
            found = [_rule(item) for item in rules.items("hosts")]
        if not found:
            section.problem("an Ingress needs rules: {hosts: [{paths: {<path>: {service, port}}}]}")
        tls = []
        for item in section.items("tls"):
            with item:
                tls.append(compact(hosts=item.words("hosts"), secretName=item.name("secret", "secret_name")))
        spec = compact(ingressClassName=section.text("class", "ingress_class_name"), tls=tls, rules=found)
        yield scope.manifest(
            "Ingress",
            name,
            {"spec": section.complete(spec, "networking.v1.IngressSpec")},
            section.place,
            namespace=section.name("namespace"),
            labels=section.texts("labels"),
            annotations=section.texts("annotations"),
        )


def endpoints(key: str, section: PillarSection, scope: Scope) -> Iterator[Manifest]:
    """One entry of ``kubernetes:control:endpoints``: addresses, and the Service that balances over them."""
    with section:
        section.ignore("enabled", "create", "cluster")
        name = section.checked(section.text("service", default=key) or key, names.SERVICE)
        namespace, labels = section.name("namespace"), section.texts("labels")
        subsets = [_subset(item) for item in section.items("subsets")]
        place = section.place
        # Deprecated since 1.33, in favour of slices: those have a label for their Service, and one family each.
        if scope.version < (1, 33):
            yield scope.manifest("Endpoints", name, {"subsets": subsets}, place, namespace=namespace, labels=labels)
        else:
            tied = {"kubernetes.io/service-name": name} | labels
            for number, body in enumerate(_slices(subsets), 1):
                title = f"{name}-{number}"
                yield scope.manifest("EndpointSlice", title, body, place, namespace=namespace, labels=tied)
        balanced, spec = section.flag("service_enabled"), service(section, scope)
        if spec is not None and balanced is not False:
            yield scope.manifest("Service", name, {"spec": spec}, place, namespace=namespace, labels=labels)


def _slices(subsets: list[Object]) -> Iterator[Object]:
    """The endpoints of ``subsets`` as slices: one for each subset and each family of its addresses."""
    for subset in subsets:
        families: dict[str, list[Object]] = {}
        for address in subset["addresses"]:
            family = "IPv6" if ":" in address["ip"] else "IPv4"
            families.setdefault(family, []).append({"addresses": [address["ip"]]})
        for family, endpoints in families.items():
            yield {"addressType": family, "endpoints": endpoints, "ports": subset["ports"]}


def _rule(section: PillarSection) -> Object:
    with section:
        paths = []
        for path, item in section.sections("paths"):
            with item:
                number = item.port()
                backend = {"service": {"name": item.name("service"), "port": {"number": number}}}
                kind = item.choice("type", among=("Prefix", "Exact", "ImplementationSpecific"), default="Prefix")
                paths.append({"path": path, "pathType": kind, "backend": backend})
        return compact(host=section.text("host")) | {"http": {"paths": paths}}


def _subset(section: PillarSection) -> Object:
    with section:
        addresses = [{"ip": ip} for ip in section.words("ip", "addresses") or ()]
        with section.section("port") as port:
            ports = [compact(name=port.name("name"), port=port.port("number", "port"))]
        return {"addresses": addresses, "ports": ports}
