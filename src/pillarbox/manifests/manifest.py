"""One rendered object, and where it came from."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from pillarbox.manifests import kinds
from pillarbox.manifests.errors import PillarPlace
from pillarbox.manifests.kinds import CURRENT, ConditionGate, Gate, Kind, Version
from pillarbox.manifests.traffic import Traffic
from pillarbox.system.yaml_text import dump

HEADER = "# rendered by pillarbox from node "
Object = dict[str, Any]


@dataclass(frozen=True)
class Manifest:
    """A Kubernetes object as data.

    ``filename`` is relative, ``<deployment>/[<namespace>/]<name>-<kind>.yml``. ``unit`` is how others depend on the
    object (``service/keystone-server``, ``job/keystone-expand``, ``object/nightly``; with ``<namespace>/`` before it
    outside ``default``), ``None`` where they cannot; ``depends_on`` holds such names. ``condition`` is a gate of its
    own, instead of its kind's. ``place`` is the pillar that asked for the object, ``kubernetes`` the version of its
    cluster. ``traffic`` is what a NetworkPolicy is made of.
    """

    filename: str
    object: Object = field(hash=False)
    deployment: str
    place: PillarPlace
    unit: str | None = None
    depends_on: tuple[str, ...] = ()
    condition: ConditionGate | None = None
    traffic: Traffic | None = None
    kubernetes: Version = CURRENT

    @property
    def node(self) -> str:
        return self.place.node

    @property
    def kind(self) -> str:
        return str(self.object["kind"])

    @property
    def type(self) -> Kind:
        """What is known of the object's kind."""
        return kinds.of(self.object)

    @property
    def gate(self) -> Gate | ConditionGate | None:
        """What a wave waits for; ``None`` for what is in effect as soon as it is stored."""
        return self.condition or self.type.gate

    @property
    def name(self) -> str:
        return str(self.object["metadata"]["name"])

    @property
    def namespace(self) -> str | None:
        """The namespace, or ``None`` for what belongs to the whole cluster."""
        namespace: str | None = self.object["metadata"].get("namespace")
        return namespace

    @property
    def identity(self) -> tuple[str, str, str, str | None, str]:
        """What only one object of a model may be: deployment, API group, kind, namespace and name."""
        return (self.deployment, kinds.group(self.object["apiVersion"]), self.kind, self.namespace, self.name)

    @property
    def annotations(self) -> dict[str, str]:
        return dict(self.object["metadata"].get("annotations", {}))

    @property
    def workload(self) -> str | None:
        """The unit, where it is a service or a job of the model."""
        return self.unit if self.unit and self.unit.split("/")[-2] != kinds.OBJECT else None

    @property
    def template(self) -> Object | None:
        """The pod template of a workload."""
        if self.workload is None:
            return None
        found: Any = self.object
        for key in self.type.template:
            found = found[key]
        template: Object = found
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
