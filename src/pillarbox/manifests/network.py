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
        yield scope.manifest(
            "Ingress",
            name,
            {"spec": compact(ingressClassName=section.text("class", "ingress_class_name"), tls=tls, rules=found)},
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
        yield scope.manifest("Endpoints", name, {"subsets": subsets}, place, namespace=namespace, labels=labels)
        balanced, spec = section.flag("service_enabled"), service(section, scope)
        if spec is not None and balanced is not False:
            yield scope.manifest("Service", name, {"spec": spec}, place, namespace=namespace, labels=labels)


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
