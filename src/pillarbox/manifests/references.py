"""Which ConfigMaps and Secrets an object names."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any

from pillarbox.manifests import kinds
from pillarbox.manifests.kinds import Kind

_VOLUMES = (("configMap", kinds.CONFIG_MAP, "name"), ("secret", kinds.SECRET, "secretName"))
_PROJECTED = (("configMap", kinds.CONFIG_MAP), ("secret", kinds.SECRET))
_VARIABLES = (("configMapKeyRef", kinds.CONFIG_MAP), ("secretKeyRef", kinds.SECRET))
_ENVIRONMENTS = (("configMapRef", kinds.CONFIG_MAP), ("secretRef", kinds.SECRET))


class ReferenceUse(Enum):
    """What an object is named for."""

    ENVIRONMENT = auto()
    VOLUME = auto()
    #: The credentials of a registry: no process in the pod sees them.
    PULL = auto()


@dataclass(frozen=True)
class PodReference:
    """A ConfigMap or Secret of the same namespace; ``key`` is ``None`` for all of it.

    ``optional`` is one that the pod starts without.
    """

    kind: Kind
    name: str
    use: ReferenceUse
    key: str | None = None
    optional: bool = False


def references(obj: Mapping[str, Any]) -> Iterator[PodReference]:
    """What an object's pods need: of whatever has a pod template, of a Pod, and of a ServiceAccount.

    The object may be one that nobody has checked yet; what is no reference in it is passed over.
    """
    kind = kinds.of(obj)
    if kind is kinds.SERVICE_ACCOUNT:
        yield from _pull_secrets(obj)
    elif kind.template:
        yield from of_pod(mapping(obj, *kind.template, "spec"))


def of_pod(spec: Mapping[str, Any]) -> Iterator[PodReference]:
    """What a pod with this spec needs."""
    for volume in mappings(spec, "volumes"):
        for field, kind, key in _VOLUMES:
            yield from _files(kind, mapping(volume, field), key)
        for source in mappings(mapping(volume, "projected"), "sources"):
            for field, kind in _PROJECTED:
                yield from _files(kind, mapping(source, field), "name")
    for container in (*mappings(spec, "initContainers"), *mappings(spec, "containers")):
        for variable in mappings(container, "env"):
            for field, kind in _VARIABLES:
                yield from _one(kind, mapping(variable, "valueFrom", field), ReferenceUse.ENVIRONMENT)
        for source in mappings(container, "envFrom"):
            for field, kind in _ENVIRONMENTS:
                yield from _one(kind, mapping(source, field), ReferenceUse.ENVIRONMENT)
    yield from _pull_secrets(spec)


def _pull_secrets(owner: Mapping[str, Any]) -> Iterator[PodReference]:
    for item in mappings(owner, "imagePullSecrets"):
        yield from _one(kinds.SECRET, item, ReferenceUse.PULL)


def _files(kind: Kind, source: Mapping[str, Any], key: str) -> Iterator[PodReference]:
    name, optional = source.get(key), bool(source.get("optional"))
    if isinstance(name, str):
        keys = [_text(item, "key") for item in mappings(source, "items")] or [None]
        yield from (PodReference(kind, name, ReferenceUse.VOLUME, item, optional) for item in keys)


def _one(kind: Kind, source: Mapping[str, Any], use: ReferenceUse) -> Iterator[PodReference]:
    name = source.get("name")
    if isinstance(name, str):
        yield PodReference(kind, name, use, _text(source, "key"), bool(source.get("optional")))


def _text(source: Mapping[str, Any], key: str) -> str | None:
    value = source.get(key)
    return value if isinstance(value, str) else None


def mapping(value: Any, *path: str) -> Mapping[str, Any]:
    """The mapping at ``path`` of an object that nobody has checked; empty where there is none."""
    for key in path:
        value = value.get(key) if isinstance(value, Mapping) else None
    return value if isinstance(value, Mapping) else {}


def mappings(owner: Mapping[str, Any], key: str) -> list[Mapping[str, Any]]:
    """The mappings of the list ``key`` of an object that nobody has checked."""
    value = owner.get(key)
    return [item for item in value if isinstance(item, Mapping)] if isinstance(value, list) else []
