"""A revision, rendered: nodes, images, manifests, hosts."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from pillarbox import manifests
from pillarbox.images import ImageSpec, image_specs
from pillarbox.manifests import Manifest
from pillarbox.model import Inventory, Node
from pillarbox.revision.deployment import Deployment, deployments
from pillarbox.revision.errors import RevisionError
from pillarbox.system.errors import raise_all

_LABEL = r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"
_HOST = re.compile(rf"{_LABEL}(\.{_LABEL})*")


@dataclass(frozen=True)
class Revision:
    """One revision of the model: a pure function of its files.

    ``name`` is the commit, or empty for files that belong to none. ``manifests`` name images by content key: it differs
    when the content does, and is known before anything is built. ``pinned`` has the digests of a registry instead.
    """

    name: str
    inventory: Inventory = field(repr=False)
    nodes: Mapping[str, Node] = field(repr=False)
    images: Mapping[str, ImageSpec] = field(repr=False)
    manifests: tuple[Manifest, ...] = field(repr=False)

    @classmethod
    def read(cls, model: str | Path, name: str = "", *, revision: str | None = None) -> Revision:
        """The model in directory ``model``, or what the git repository ``model`` has at ``revision``.

        ``name`` is how the result is called, by default ``revision``. Raises everything that is wrong with it, files
        named relative to the model. What later steps would find is not looked for once an earlier one fails: it would
        only be the same mistake, seen from further away.
        """
        inventory = Inventory(model, revision=revision)
        nodes = {node.name: node for node in inventory.all()}
        raise_all([*_misnamed(nodes.values())])
        images = image_specs(inventory, nodes.values())
        keys = {image.name: image.content_key for image in images.values()}
        return cls(name or revision or "", inventory, nodes, images, manifests.render(inventory, images, keys))

    @cached_property
    def hosts(self) -> Mapping[str, Node]:
        """The nodes that are Salt minions, by name."""
        return {name: node for name, node in self.nodes.items() if is_host(node)}

    def pinned(self, digests: Mapping[str, str]) -> tuple[Manifest, ...]:
        """The manifests with images pinned to ``digests``, by image; those that it lacks go by their tag."""
        return manifests.render(self.inventory, self.images, digests)

    def deployments(self, digests: Mapping[str, str] | None = None) -> tuple[Deployment, ...]:
        """What goes to which cluster, with images pinned to ``digests``, or for those whom images do not concern as
        ``manifests`` name them. Raises :class:`RevisionError`."""
        return tuple(deployments(self.manifests if digests is None else self.pinned(digests), self.nodes))


def is_host(node: Node) -> bool:
    """Whether a node is a Salt minion."""
    salt = node.parameters.get("salt")
    return isinstance(salt, Mapping) and "minion" in salt


def _misnamed(nodes: Iterable[Node]) -> Iterator[RevisionError]:
    for node in nodes:
        if is_host(node) and not _HOST.fullmatch(node.name):
            yield RevisionError(
                f"{node.name!r} is no name that a host can have",
                file=node.file,
                hint="Name the file with lower case letters, digits, hyphens and dots.",
            )
