"""One rendered object, and where it came from."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from pillarbox.manifests.dump import dump
from pillarbox.manifests.errors import PillarPlace

HEADER = "# rendered by pillarbox from node "
Object = dict[str, Any]


@dataclass(frozen=True)
class Manifest:
    """A Kubernetes object as data.

    ``filename`` is relative, ``<deployment>/[<namespace>/]<name>-<kind>.yml``. ``workload`` names what runs pods
    (``service/keystone-server``, ``job/keystone-expand``; with ``<namespace>/`` before it outside ``default``) and is
    ``None`` for everything else; ``depends_on`` holds such names. ``place`` is the pillar that asked for the object.
    """

    filename: str
    object: Object = field(hash=False)
    deployment: str
    place: PillarPlace
    workload: str | None = None
    depends_on: tuple[str, ...] = ()

    @property
    def node(self) -> str:
        return self.place.node

    @property
    def kind(self) -> str:
        return str(self.object["kind"])

    @property
    def name(self) -> str:
        return str(self.object["metadata"]["name"])

    @property
    def namespace(self) -> str | None:
        """The namespace, or ``None`` for what belongs to the whole cluster."""
        namespace: str | None = self.object["metadata"].get("namespace")
        return namespace

    @property
    def identity(self) -> tuple[str, str, str | None, str]:
        """What only one object of a model may be: deployment, kind, namespace and name."""
        return (self.deployment, self.kind, self.namespace, self.name)

    @property
    def annotations(self) -> dict[str, str]:
        return dict(self.object["metadata"].get("annotations", {}))

    @property
    def template(self) -> Object | None:
        """The pod template, for what runs pods."""
        spec = self.object.get("spec", {})
        if self.kind == "CronJob":
            spec = spec["jobTemplate"]["spec"]
        template: Object | None = spec.get("template") if self.workload else None
        return template

    @property
    def text(self) -> str:
        """The file's content."""
        return f"{HEADER}{self.node}; do not edit\n{dump(self.object)}"

    def containers(self) -> Iterator[Object]:
        """Every container of the pod template, those that initialise it first."""
        spec = (self.template or {}).get("spec", {})
        yield from spec.get("initContainers", ())
        yield from spec.get("containers", ())

    def with_object(self, new: Object) -> Manifest:
        return replace(self, object=new)
