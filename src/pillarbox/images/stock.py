"""What the registries have of a model's images, and what is missing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from pillarbox.images.registry import Registry
from pillarbox.images.spec import ImageSpec


@dataclass(frozen=True)
class Stock:
    """The digest of each image that is in its registry, and the names of those to build."""

    digests: Mapping[str, str]
    missing: tuple[str, ...]


def take(specs: Mapping[str, ImageSpec]) -> Stock:
    """Look images up in their registries. Needs no engine. Raises ``RegistryError``."""
    registries = {spec.registry: Registry(spec.registry) for spec in specs.values()}
    digests, missing = {}, []
    for name, spec in sorted(specs.items()):
        registry = registries[spec.registry]
        if (digest := registry.digest(spec.repository, spec.tag)) is None:
            missing.append(name)
        else:
            digests[name] = digest
    return Stock(digests, tuple(missing))
