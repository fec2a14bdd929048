"""Taking away what nobody goes back to: old images in registries, and what builders and registries keep of them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from pillarbox.images import collection
from pillarbox.images.collection import Needed
from pillarbox.model import Node
from pillarbox.pipeline import publish
from pillarbox.pipeline.alone import alone
from pillarbox.pipeline.archives import Backups, Reason
from pillarbox.pipeline.git import Repository
from pillarbox.pipeline.hosts import HostOutcome, HostState
from pillarbox.pipeline.places import Places
from pillarbox.pipeline.prepare import PATIENCE
from pillarbox.pipeline.record import RunKind, Runs
from pillarbox.revision import Revision
from pillarbox.system import git
from pillarbox.system.errors import PillarboxError
from pillarbox.system.progress import SILENT, Progress
from pillarbox.system.waiting import Patience

#: As many revisions that were built, and as many that were deployed, keep their images.
KEEP = 5
_PINNED = re.compile(r"@(sha256:[0-9a-f]{64})")


@dataclass(frozen=True)
class Collected:
    """What went, or would go: images of registries, the bytes that only they take there, and what hosts did besides.
    ``kept`` are the revisions whose images stay."""

    dry_run: bool
    kept: tuple[str, ...]
    images: tuple[str, ...]
    size: int
    hosts: Mapping[str, HostOutcome]

    @property
    def succeeded(self) -> bool:
        """Whether every host did its part."""
        return all(outcome.state is not HostState.FAILED for outcome in self.hosts.values())

    def as_dict(self) -> dict[str, Any]:
        """The outcome as plain data."""
        return {
            "dry_run": self.dry_run,
            "kept": list(self.kept),
            "images": list(self.images),
            "bytes": self.size,
            "hosts": {name: str(outcome) for name, outcome in self.hosts.items()},
        }


class ClearHosts(Protocol):
    """Has hosts clear away what they keep of images that are not ``needed``: builders, and whoever has registries."""

    def __call__(
        self, hosts: Mapping[str, Node], needed: Needed, *, dry_run: bool, progress: Progress
    ) -> Mapping[str, HostOutcome]: ...


def collect(
    places: Places,
    clear: ClearHosts | None = None,
    *,
    keep: int = KEEP,
    dry_run: bool = False,
    progress: Progress = SILENT,
) -> Collected:
    """Delete images that no revision needs of the last ``keep`` that were built, and of as many that were deployed.

    Images of published revisions stay as well, of those that a backup before a migration was made of, and whatever a
    manifest names that was seen healthy. Nothing is built or deployed meanwhile. With ``dry_run`` nothing goes. Raises
    ``RegistryError``.
    """
    with alone(places, progress):
        kept = _kept(places, keep)
        revisions = tuple(_rendered(places, kept, progress))
        digests = {*_pinned(places), *_recorded(places, kept)}
        wanted = collection.needed((spec for each in revisions for spec in each.images.values()), digests)
        patience = Patience(PATIENCE, progress.step)
        old = collection.gather(wanted, patience=patience)
        progress.step(f"{len(revisions)} revisions keep their images, {len(old.images)} go: {old.size / 1e6:.0f} MB")
        for image in old.images:
            progress.step(f"{'would delete' if dry_run else 'deleting'} {image}")
        if not dry_run:
            collection.delete(old.images, patience=patience)
        # Hosts do what the revision says that is served to them, not what somebody has pushed.
        hosts = next((each.hosts for each in revisions if each.name == publish.current(places)), {})
        cleared = clear(hosts, wanted, dry_run=dry_run, progress=progress) if clear else {}
    names = tuple(str(image) for image in old.images)
    return Collected(dry_run, kept, names, old.size, cleared)


def _kept(places: Places, keep: int) -> tuple[str, ...]:
    """The revisions whose images stay, the newest of the branch first."""
    if not places.repository.exists():
        return ()
    repository = Repository(places.repository)
    found = [repository.head(places.ref)]
    # Whoever brings back what a migration spoilt goes back to the release from before it.
    found += [each.revision for each in Backups(places.backups) if each.reason is Reason.EXPAND]
    for kind in (RunKind.BUILD, RunKind.DEPLOY):
        found += list(dict.fromkeys(run.revision for run in Runs(places.runs).done(kind)))[:keep]
    if places.published.is_dir():
        found += sorted(path.name for path in places.published.iterdir() if git.is_name(path.name))
    return tuple(name for name in dict.fromkeys(found) if name and git.is_name(name) and repository.head(name))


def _rendered(places: Places, names: tuple[str, ...], progress: Progress) -> Iterator[Revision]:
    for name in names:
        try:
            yield Revision.read(places.repository, revision=name)
        except PillarboxError as error:
            progress.step(f"{name[:12]} does not render any more, so only images that its runs name stay: {error}")


def _recorded(places: Places, revisions: tuple[str, ...]) -> Iterator[str]:
    for run in Runs(places.runs):
        if run.revision in revisions:
            yield from (image.digest for image in run.images if image.digest)


def _pinned(places: Places) -> Iterator[str]:
    """What a wave that fails may go back to."""
    for file in places.good.rglob("*"):
        if file.is_file():
            yield from _PINNED.findall(file.read_text(encoding="utf-8"))
