"""Images that no revision needs any more: found in registries, and deleted there."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from pillarbox.images.registry import ImageManifest, Registry
from pillarbox.images.spec import ImageSpec, key_tag
from pillarbox.system.waiting import IMPATIENT, Patience


@dataclass(frozen=True)
class RegistryFolder:
    """What is ours in a registry: the repositories below ``deploy_name``."""

    registry: str
    plain_http: bool
    deploy_name: str

    @property
    def prefix(self) -> str:
        """How the names of images in it begin."""
        return f"{self.registry}/{self.deploy_name}/"


@dataclass(frozen=True)
class Needed:
    """The images that stay: by ``names`` (``registry/repository:tag``), of every stage, and by the ``digests`` that
    something that is deployed may name. ``folders`` are where all others go."""

    names: frozenset[str]
    digests: frozenset[str]
    folders: frozenset[RegistryFolder]


@dataclass(frozen=True)
class OldImage:
    """An image of a registry that nothing needs, with all its tags."""

    folder: RegistryFolder
    repository: str
    digest: str
    tags: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.folder.registry}/{self.repository}: {', '.join(self.tags)}"


@dataclass(frozen=True)
class Collection:
    """What registries can do without: the images, and how many bytes only these take there."""

    images: tuple[OldImage, ...]
    size: int


def needed(specs: Iterable[ImageSpec], digests: Iterable[str] = ()) -> Needed:
    """What stays for ``specs``: the images themselves and the stages that they are made from."""
    names: set[str] = set()
    folders = set()
    for spec in specs:
        folders.add(RegistryFolder(spec.registry, spec.plain_http, spec.deploy_name))
        names |= {f"{spec.location}:{spec.tag}", f"{spec.registry}/{spec.packages_repository}:{spec.packages_tag}"}
        names |= {spec.reference, f"{spec.registry}/{spec.base.repository}:{key_tag(spec.base.key)}"}
    return Needed(frozenset(names), frozenset(digests), frozenset(folders))


def gather(wanted: Needed, *, patience: Patience = IMPATIENT) -> Collection:
    """What is in the registries of ``wanted`` and not needed. Deletes nothing. Raises ``RegistryError``."""
    old: list[OldImage] = []
    sizes: dict[str, int] = {}
    kept: set[str] = set()
    for folder in sorted(wanted.folders, key=lambda each: each.prefix):
        registry = _registry(folder, patience)
        for repository in registry.repositories(f"{folder.deploy_name}/"):
            for digest, tags in _tagged(registry, repository).items():
                manifest = registry.manifest(repository, digest)
                if manifest is None:
                    continue
                blobs = _blobs(manifest)
                names = {f"{folder.registry}/{repository}:{tag}" for tag in tags}
                if digest in wanted.digests or names & wanted.names:
                    kept |= blobs.keys()
                else:
                    old.append(OldImage(folder, repository, digest, tags))
                    sizes |= blobs
    return Collection(tuple(old), sum(size for blob, size in sizes.items() if blob not in kept))


def delete(images: Iterable[OldImage], *, patience: Patience = IMPATIENT) -> None:
    """Have the registries forget these images; the room is free once the registry collects its garbage."""
    registries: dict[RegistryFolder, Registry] = {}
    for image in images:
        if image.folder not in registries:
            registries[image.folder] = _registry(image.folder, patience)
        registries[image.folder].delete(image.repository, image.digest)


def _registry(folder: RegistryFolder, patience: Patience) -> Registry:
    return Registry(folder.registry, plain_http=folder.plain_http, patience=patience)


def _tagged(registry: Registry, repository: str) -> dict[str, tuple[str, ...]]:
    """The tags of each image of a repository, by its digest."""
    found: dict[str, tuple[str, ...]] = {}
    for tag in registry.tags(repository):
        if (digest := registry.digest(repository, tag)) is not None:
            found[digest] = (*found.get(digest, ()), tag)
    return found


def _blobs(manifest: ImageManifest) -> dict[str, int]:
    """How many bytes each part of an image takes in the registry, the manifest itself included."""
    return {manifest.digest: len(manifest.content), **dict(manifest.blobs())}
