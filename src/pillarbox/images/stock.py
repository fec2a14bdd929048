"""What the registries have of a model's images, and what is missing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from pillarbox.images.registry import Registry
from pillarbox.images.spec import ImageSpec


@dataclass(frozen=True)
class Stock:
    """The digest of each image that is in its registry, and the names of those to build.

    Of those to build, ``configuration_only`` have their packages in the registry already.
    """

    digests: Mapping[str, str]
    missing: tuple[str, ...]
    configuration_only: tuple[str, ...]


def take(specs: Mapping[str, ImageSpec]) -> Stock:
    """Look images up in their registries. Needs no engine. Raises ``RegistryError``."""
    registries = {spec.registry: Registry(spec.registry) for spec in specs.values()}
    digests, missing, configured = {}, [], []
    for name, spec in sorted(specs.items()):
        registry = registries[spec.registry]
        if (digest := registry.digest(spec.repository, spec.tag)) is not None:
            digests[name] = digest
            continue
        missing.append(name)
        if registry.digest(spec.packages_repository, spec.packages_tag) is not None:
            configured.append(name)
    return Stock(digests, tuple(missing), tuple(configured))
