"""Which images have packages that are newer where they came from: what is installed in them, against the archives."""

from __future__ import annotations

import io
import json
import re
import tarfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pillarbox.images import sources
from pillarbox.images.errors import RegistryError
from pillarbox.images.registry import Registry
from pillarbox.images.spec import ImageSpec
from pillarbox.system import archive

#: Which packages an image has, seen from its root.
DATABASE = "var/lib/dpkg/status"


@dataclass(frozen=True)
class PackageUpdate:
    """A package of an image that its archives have a newer version of."""

    package: str
    installed: str
    offered: str
    security: bool

    def as_dict(self) -> dict[str, Any]:
        """The update as plain data."""
        return {
            "package": self.package,
            "installed": self.installed,
            "offered": self.offered,
            "security": self.security,
        }


@dataclass(frozen=True)
class ImageUpdates:
    """What is newer for one image, security updates first; ``built`` is false where the registry has no such image."""

    image: str
    built: bool
    packages: tuple[PackageUpdate, ...]

    def as_dict(self) -> dict[str, Any]:
        """The image as plain data."""
        return {"image": self.image, "built": self.built, "packages": [each.as_dict() for each in self.packages]}


def look(specs: Iterable[ImageSpec], *, security: bool = False) -> Iterator[ImageUpdates]:
    """What is newer for each image as its registry has it, one after another; those of the same sources together.

    ``security`` leaves out what is no security update. Needs no engine, and the machine's apt. Raises ``RegistryError``
    and ``AptError``.
    """
    by_source: dict[str, list[ImageSpec]] = {}
    for spec in specs:
        by_source.setdefault(json.dumps(_decisive(spec.packages), sort_keys=True), []).append(spec)
    for same in by_source.values():
        with archive.opened(sources.sources(same[0].packages)) as opened:
            for spec in same:
                database = _database(spec)
                newer = [] if database is None else updates(installed(database), opened)
                packages = tuple(update for update in newer if update.security or not security)
                yield ImageUpdates(spec.name, database is not None, packages)


def _decisive(packages: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in packages.items() if key not in ("without", "state")}


def installed(database: str) -> dict[str, str]:
    """The version of each package that is installed, from what dpkg keeps."""
    found = {}
    for paragraph in database.split("\n\n"):
        fields = dict(re.findall(r"^(Package|Status|Version): (.+)$", paragraph, re.MULTILINE))
        if fields.get("Status", "").endswith(" installed") and "Version" in fields:
            found[fields["Package"]] = fields["Version"]
    return found


def updates(have: Mapping[str, str], opened: archive.Archive) -> list[PackageUpdate]:
    """The newest version of each package that is newer than what is installed, security updates first."""
    best: dict[str, archive.Offer] = {}
    security = set()
    for offer in opened.offers(sorted(have)):
        if not archive.newer(offer.version, have[offer.package]):
            continue
        if offer.suite.endswith("-security"):
            security.add(offer.package)
        if offer.package not in best or archive.newer(offer.version, best[offer.package].version):
            best[offer.package] = offer
    found = [PackageUpdate(name, have[name], offer.version, name in security) for name, offer in best.items()]
    return sorted(found, key=lambda update: (not update.security, update.package))


def _database(spec: ImageSpec) -> str | None:
    """What dpkg says of the image, from the last layer that has it; nothing where the registry has no such image."""
    registry = Registry.of(spec)
    manifest = registry.manifest(spec.repository, spec.tag)
    if manifest is None:
        return None
    for layer in reversed(json.loads(manifest.content)["layers"]):
        packed = io.BytesIO(registry.blob(spec.repository, layer["digest"]))
        with tarfile.open(fileobj=packed, mode="r|*") as content:
            for entry in content:
                if entry.name.removeprefix("./") == DATABASE and (file := content.extractfile(entry)) is not None:
                    return file.read().decode(errors="replace")
    raise RegistryError(f"no layer of {spec.reference} has /{DATABASE}")
