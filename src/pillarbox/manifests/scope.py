"""What everything on one control node shares."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pillarbox.manifests import kinds, names
from pillarbox.manifests.catalog import Catalog
from pillarbox.manifests.errors import PillarPlace, Problems
from pillarbox.manifests.kinds import CURRENT, Version
from pillarbox.manifests.manifest import Manifest, Object
from pillarbox.manifests.section import PillarSection
from pillarbox.manifests.traffic import Traffic


@dataclass(frozen=True)
class Scope:
    """The deployment, its default namespace, its Kubernetes version, and the images it may run."""

    deployment: str
    namespace: str
    version: Version
    catalog: Catalog
    problems: Problems

    def manifest(
        self,
        kind: str,
        name: str,
        body: Object,
        place: PillarPlace,
        *,
        namespace: str | None = None,
        service: str | None = None,
        role: str | None = None,
        labels: Mapping[str, str] | None = None,
        annotations: Mapping[str, str] | None = None,
        unit: str | None = None,
        depends_on: tuple[str, ...] = (),
        traffic: Traffic | None = None,
    ) -> Manifest:
        """An object of a kind of the table with its metadata around ``body``, and the file that it belongs in."""
        known = kinds.named(kind)
        namespace = (namespace or self.namespace) if known.namespaced else None
        metadata = self.metadata(name, namespace, labels, annotations, service=service, role=role)
        found = {"apiVersion": known.api(self.version), "kind": kind, "metadata": metadata, **body}
        file = self.filename(name, namespace, known.file_suffix)
        return Manifest(file, found, self.deployment, place, unit, depends_on, kubernetes=self.version, traffic=traffic)

    def metadata(
        self,
        name: str,
        namespace: str | None,
        labels: Mapping[str, str] | None = None,
        annotations: Mapping[str, str] | None = None,
        *,
        service: str | None = None,
        role: str | None = None,
    ) -> Object:
        """An object's metadata: the labels that all objects carry, and its own."""
        defaults = {
            "app": name,
            "app.kubernetes.io/name": service or name,
            "app.kubernetes.io/component": role,
            "app.kubernetes.io/part-of": self.deployment,
            "app.kubernetes.io/managed-by": "pillarbox",
        }
        # A ClusterRole may be called what no label may.
        fitting = {key: value for key, value in defaults.items() if value and names.LABEL_VALUE.fullmatch(value)}
        return compact(
            name=name, namespace=namespace, labels={**fitting, **(labels or {})}, annotations=dict(annotations or {})
        )

    def filename(self, name: str, namespace: str | None, suffix: str) -> str:
        """Where an object's file lies: objects of the namespace ``default`` beside those that have none."""
        parts = (self.deployment, *((namespace,) if namespace not in (None, "default") else ()))
        return "/".join(str(part) for part in (*parts, f"{name.replace(':', '_')}-{suffix}.yml"))


def compact(**fields: Any) -> Object:
    """The fields that hold something: ``None`` and empty containers are left out, zero and false stay."""
    return {key: value for key, value in fields.items() if value is not None and value not in ({}, [], ())}


def unit_name(namespace: str, kind: str, name: str) -> str:
    """How ``depends_on`` calls it; the namespace ``default`` goes without saying."""
    return f"{kind}/{name}" if namespace == "default" else f"{namespace}/{kind}/{name}"


def parse_version(control: PillarSection, parameters: Mapping[str, Any]) -> Version:
    """The Kubernetes version of ``kubernetes:control:version``, else of ``_param:kubernetes_version``."""
    value = control.value("version")
    if isinstance(value, float):
        control.problem(
            f"expected a Kubernetes version as text, found the number {value}", 'Quote it: "1.37".', key="version"
        )
        return CURRENT
    given = value if value is not None else _param(parameters, "kubernetes_version")
    match = re.match(r"v?(\d+)\.(\d+)", str(given)) if given is not None else None
    if match is None:
        if value is not None:
            control.problem(f"expected a Kubernetes version such as 1.37.2, found {value}", key="version")
        return CURRENT
    return int(match[1]), int(match[2])


def deploy_name(control: PillarSection, parameters: Mapping[str, Any]) -> str:
    """What the deployment is called; it names a directory and a label."""
    name = control.text("deploy_name")
    for parameter in ("deploy_name", "cluster_name"):
        name = name or _param(parameters, parameter)
    return control.checked(name or "default", names.LABEL_VALUE, key="deploy_name")


def _param(parameters: Mapping[str, Any], name: str) -> str | None:
    params = parameters.get("_param")
    value = params.get(name) if isinstance(params, Mapping) else None
    return None if value is None else str(value)
