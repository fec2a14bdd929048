"""What the registries have of a model's images, and what is missing.

The tag of a content key says where an image is, and somebody may have moved it; a digest that was recorded when the
image was built cannot be. So a recorded digest counts, and a tag only where nobody recorded one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from pillarbox.images.registry import Registry
from pillarbox.images.spec import ImageSpec
from pillarbox.system.waiting import IMPATIENT, Patience


@dataclass(frozen=True)
class Stock:
    """The digest of each image that is in its registry, and the names of those to build; ``by_tag`` are those whose
    digest is what their tag stands for now, for none was recorded."""

    digests: Mapping[str, str]
    missing: tuple[str, ...]
    by_tag: tuple[str, ...] = ()


def take(
    specs: Mapping[str, ImageSpec], recorded: Mapping[str, str] | None = None, *, patience: Patience = IMPATIENT
) -> Stock:
    """Look images up in their registries. ``recorded`` has the digest of each image whose build is known, by location
    and content key: see :func:`identity`. Needs no engine. Raises ``RegistryError``."""
    registries = {spec.registry: Registry.of(spec, patience) for spec in specs.values()}
    digests: dict[str, str] = {}
    missing, by_tag = [], []
    for name, spec in sorted(specs.items()):
        known = (recorded or {}).get(identity(spec.location, spec.content_key))
        digest = registries[spec.registry].digest(spec.repository, known or spec.tag)
        if digest is None:
            missing.append(name)
            continue
        digests[name] = digest
        if known is None:
            by_tag.append(name)
    return Stock(digests, tuple(missing), tuple(by_tag))


def identity(location: str, content_key: str) -> str:
    """What an image is recorded under: where it is, and what is in it."""
    return f"{location}:{content_key}"
