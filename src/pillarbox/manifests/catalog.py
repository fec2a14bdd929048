"""The images that containers may name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from pillarbox.manifests.errors import PillarPlace, Problems
from pillarbox.system.names import did_you_mean


class Image(Protocol):
    """What this room needs to know of an image node; the images room's ``ImageSpec`` is one."""

    @property
    def name(self) -> str: ...
    @property
    def repository(self) -> str: ...
    @property
    def reference(self) -> str: ...
    @property
    def registry(self) -> str: ...
    @property
    def deploy_name(self) -> str: ...
    @property
    def dynamic(self) -> tuple[str, ...]: ...
    @property
    def content_key(self) -> str: ...


@dataclass(frozen=True)
class NamedImage:
    """An image node known by its name alone, for a rendering that is given no image specifications."""

    name: str
    registry: str
    deploy_name: str
    version: str
    dynamic: tuple[str, ...] = ()
    content_key: str = ""

    @property
    def repository(self) -> str:
        return f"{self.deploy_name}/{self.name}"

    @property
    def reference(self) -> str:
        return f"{self.registry}/{self.repository}:{self.version}"


def named_image(parameters: Mapping[str, Any]) -> NamedImage | None:
    """The image that a node's parameters describe, if they describe one."""
    image = parameters.get("image")
    if not isinstance(image, Mapping) or "service" not in image:
        return None
    text = {key: str(image.get(key, "")) for key in ("service", "role", "registry", "deploy_name", "version")}
    return NamedImage(f"{text['service']}-{text['role']}", text["registry"], text["deploy_name"], text["version"])


@dataclass(frozen=True)
class Catalog:
    """Image nodes by name, and the digests under which a registry holds them, as far as they are known."""

    images: Mapping[str, Image]
    digests: Mapping[str, str]
    _references: dict[str, Image] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        self._references.update({image.reference: image for image in self.images.values()})

    def pinned(self, image: Image) -> str:
        """The reference that a container carries: readable tag, and the digest where it is known."""
        digest = self.digests.get(image.name)
        if digest is None:
            return image.reference
        return f"{image.reference}@{digest if ':' in digest else f'sha256:{digest}'}"

    def find(self, reference: str) -> Image | None:
        """The image node that a container's reference stands for, if any."""
        return self._references.get(reference.partition("@")[0])

    def identity(self, reference: str) -> str:
        """What decides the bytes behind a reference, as exactly as it is known."""
        image = self.find(reference)
        if image is None:
            return reference
        return self.digests.get(image.name) or image.content_key or reference

    def resolve(self, registry: str | None, image: str, tag: str | None, place: PillarPlace, problems: Problems) -> str:
        """The reference for what a container's pillar says.

        The name of an image node, or its repository, becomes that node's pinned reference. Everything else stands as
        it was written. A reference into an image node's own repository space that no node describes is reported.
        """
        node = self.images.get(image)
        if (
            node is not None
            and tag is None
            and registry in (None, node.registry, f"{node.registry}/{node.deploy_name}")
        ):
            return self.pinned(node)
        close = did_you_mean(image, self.images, cutoff=0.85) if registry is None and tag is None else None
        if close and node is None:
            problems.add(place, f"no image node {image}", f"{close} Any other image needs a tag.")
        reference = "/".join(part for part in (registry, image) if part)
        if tag is not None:
            reference = f"{reference}:{tag}"
        for own in self.images.values():
            if reference in (own.reference, f"{own.registry}/{own.repository}"):
                return self.pinned(own)
        for space, deploy_name in {
            (f"{own.registry}/{own.deploy_name}/", own.deploy_name) for own in self.images.values()
        }:
            if not reference.startswith(space):
                continue
            name = reference.removeprefix(space).partition("@")[0].partition(":")[0]
            if name not in self.images:
                hint = did_you_mean(name, self.images) or f"Add a node {name} with the pillar image."
                problems.add(
                    place, f"image {reference} belongs to {deploy_name}, but no image node {name} exists", hint
                )
        return reference
