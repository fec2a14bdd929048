"""What the step from one revision to another does, worked out before any of it is done."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Any

from pillarbox.images import ImageSpec, RegistryError
from pillarbox.images.registry import Registry
from pillarbox.manifests import Manifest
from pillarbox.manifests.releases import CONTRACT, marked, order
from pillarbox.model import Inventory, Node
from pillarbox.pipeline import updates
from pillarbox.pipeline.git import Repository
from pillarbox.pipeline.publish import read
from pillarbox.revision import Revision, is_host
from pillarbox.system.differences import differences
from pillarbox.system.errors import PillarboxError

#: Pillar that no state of a host reads: the model's knobs, and what the manifests are made of.
_NOT_OF_HOSTS = ("_param", "_secret", "kubernetes.control", "reclass", "__reclass__")
_SHOWN = 6


class ImageAction(StrEnum):
    """What becomes of an image."""

    BUILD = "build"
    CONFIGURE = "build, configuration only"
    FOUND = "in the registry already"


class ObjectAction(StrEnum):
    """What becomes of a workload or another object, in the order in which a plan lists them."""

    RUNS = "runs"
    ROLLS = "rolls"
    APPEARS = "appears"
    UPDATES = "updates"
    GOES = "goes"


@dataclass(frozen=True)
class ImageChange:
    """An image whose content changes, and why, or (``lost``) one as before that the registry does not have."""

    name: str
    action: ImageAction
    lost: bool = False
    why: tuple[str, ...] = ()

    @property
    def state(self) -> str:
        """What happens to it, in words."""
        return f"{self.action}, not in the registry" if self.lost else str(self.action)

    def as_dict(self) -> dict[str, object]:
        """The image as plain data."""
        return {"name": self.name, "state": self.state, "why": list(self.why)}


@dataclass(frozen=True)
class ObjectChange:
    """A workload or another object that changes, and why."""

    kind: str
    name: str
    action: ObjectAction
    why: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, object]:
        """The object as plain data."""
        return {"kind": self.kind, "name": self.name, "action": str(self.action), "why": list(self.why)}


@dataclass(frozen=True)
class HostChange:
    """A host that changes, and the pillar paths or formula files that make it; ``how`` says what is special about it,
    in words."""

    name: str
    why: tuple[str, ...]
    how: str = ""

    def as_dict(self) -> dict[str, object]:
        """The host as plain data."""
        return {"name": self.name, "why": list(self.why), "how": self.how}


@dataclass(frozen=True)
class Plan:
    """The difference between two revisions, in what will happen. ``notes`` say what could not be found out."""

    base: str | None
    head: str
    images: tuple[ImageChange, ...] = ()
    workloads: tuple[ObjectChange, ...] = ()
    hosts: tuple[HostChange, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def empty(self) -> bool:
        """Whether nothing happens at all."""
        return not (self.images or self.workloads or self.hosts)

    def as_dict(self) -> dict[str, Any]:
        """The plan as plain data."""
        return {
            "base": self.base,
            "head": self.head,
            "images": [item.as_dict() for item in self.images],
            "workloads": [item.as_dict() for item in self.workloads],
            "hosts": [item.as_dict() for item in self.hosts],
            "notes": list(self.notes),
        }

    def as_text(self) -> str:
        """The plan as people read it."""
        start = f"{self.base[:12]}..{self.head[:12]}" if self.base else f"{self.head[:12]} (the first)"
        lines = [f"Plan for {start}"]
        if self.empty:
            lines.append("  nothing changes: no image to build, no workload to roll, no host to change")
        for title, rows in (
            ("images", [f"{item.name}: {item.state}{_because(item.why)}" for item in self.images]),
            ("workloads", [f"{item.kind} {item.name}: {item.action}{_because(item.why)}" for item in self.workloads]),
            ("hosts", [f"{item.name}{item.how and f': {item.how}'}{_because(item.why)}" for item in self.hosts]),
            ("notes", list(self.notes)),
        ):
            if rows:
                lines.append(f"  {title}")
                lines += [f"    {row}" for row in rows]
        return "\n".join(lines) + "\n"


def make(repository: str | Path, base: str | None, head: str | Revision, *, registry: bool = True) -> Plan:
    """The plan from revision ``base`` (``None`` or the null commit: from nothing) to ``head``, of one repository.

    Raises what is wrong with ``head``; of a ``base`` that does not render, hosts alone count.
    """
    repo = Repository(repository)
    after = head if isinstance(head, Revision) else read(repo.path, repo.resolve(head))
    base = None if base is None or base.strip("0") == "" else repo.resolve(base)
    if base is None or base == after.name:
        return compare(after if base else None, after, registry=registry)
    try:
        # What is in the repository was looked at when it was pushed.
        before = Revision.read(repo.path, revision=base)
    except PillarboxError:
        made = compare(None, after, registry=registry)
        changes = hosts(known(repo.path, base), after, repo.changed(base, after.name))
        note = f"{base[:12]} does not render; images and workloads count from nothing"
        return replace(made, base=base, hosts=changes, notes=(note, *made.notes))
    return compare(before, after, repo.changed(base, after.name), registry=registry)


def known(repository: Path, revision: str) -> Mapping[str, Node]:
    """The hosts of a revision that is in the repository, as far as its nodes render; none where there is no such
    revision. A Pillarbox that asks for more than the one that let it in may not take the whole of it any more."""
    found = {}
    with contextlib.suppress(PillarboxError):
        inventory = Inventory(repository, revision=revision)
        for name in inventory.nodes:
            with contextlib.suppress(PillarboxError):
                if is_host(node := inventory.node(name)):
                    found[name] = node
    return found


def compare(before: Revision | None, after: Revision, changed: Iterable[str] = (), *, registry: bool = True) -> Plan:
    """The plan from ``before`` (``None``: from nothing) to ``after``; ``changed`` are the files that differ.

    Pure but for one question to the registry, whether it has an image already; without ``registry``, or when it is
    down, the plan says so and goes on.
    """
    notes: list[str] = []
    changed = tuple(changed)
    images = _images(before, after, changed, notes, ask=registry)
    workloads = _workloads(before, after)
    notes += _interruptions(after, workloads)
    notes += _returns(before, after)
    base = before.name if before else None
    hosted = hosts(before.hosts if before else {}, after, changed)
    return Plan(base, after.name, images, workloads, hosted, tuple(notes))


def _images(
    before: Revision | None, after: Revision, changed: Iterable[str], notes: list[str], *, ask: bool
) -> tuple[ImageChange, ...]:
    found = []
    down: set[str] = set()
    registries = {spec.registry: Registry.of(spec) for spec in after.images.values()} if ask else {}
    for name, spec in sorted(after.images.items()):
        old = before.images.get(name) if before else None
        same = old is not None and (old.content_key, old.reference) == (spec.content_key, spec.reference)
        if same and not ask:
            continue
        action = ImageAction.BUILD
        if ask and spec.registry not in down:
            try:
                registry = registries[spec.registry]
                if registry.digest(spec.repository, spec.tag) is not None:
                    if same:
                        continue
                    action = ImageAction.FOUND
                elif registry.digest(spec.packages_repository, spec.packages_tag) is not None:
                    action = ImageAction.CONFIGURE
            except RegistryError as error:
                down.add(spec.registry)
                if same:
                    continue
                notes.append(f"{error.message}; images that it may have count as to be built")
        if same and spec.registry in down:
            continue
        if not same and action is ImageAction.BUILD and old is not None and old.package_key == spec.package_key:
            action = ImageAction.CONFIGURE
        # One that does not change here is lost: an earlier build of it failed, or the registry lost it.
        found.append(ImageChange(name, action, lost=same, why=tuple(_reasons(old, spec, changed))))
    return tuple(found)


def _reasons(old: ImageSpec | None, new: ImageSpec, changed: Iterable[str]) -> Iterator[str]:
    """What makes an image another one: release, base and place by name, then pillar by path, then files."""
    if old is None:
        return
    for what, before, after in (
        ("version", old.version, new.version),
        ("base", old.base.name, new.base.name),
        ("registry", old.location, new.location),
    ):
        if before != after:
            yield f"{what} {before} -> {after}"
    named = ("image.version", "image.base.name")
    yield from (path for path in differences(old.pillar, new.pillar) if path not in named)
    yield from (path for path in changed if new.uses(path))


def _workloads(before: Revision | None, after: Revision) -> tuple[ObjectChange, ...]:
    old = {_identity(item): item for item in before.manifests} if before else {}
    new = {_identity(item): item for item in after.manifests}
    found = []
    for key, item in new.items():
        kind, name = item.kind, _name(item)
        other = old.get(key)
        if other is None:
            action = ObjectAction.RUNS if item.type.once else ObjectAction.APPEARS
            found.append(ObjectChange(kind, name, action))
            continue
        fields = tuple(differences(other.object, item.object))
        if fields:
            rolls = item.workload is not None and any(field.startswith("spec.template") for field in fields)
            action = ObjectAction.UPDATES if not rolls else ObjectAction.RUNS if item.type.once else ObjectAction.ROLLS
            found.append(ObjectChange(kind, name, action, _spoken(fields, other, item)))
    # A Job that is superseded by one of another hash is the same Job to people.
    running = {(item.kind, item.name) for item in found if item.action is ObjectAction.RUNS}
    for key, item in old.items():
        if key not in new and (item.kind, _name(item)) not in running:
            found.append(ObjectChange(item.kind, _name(item), ObjectAction.GOES))
    order = list(ObjectAction)
    return tuple(sorted(found, key=lambda item: (order.index(item.action), item.kind, item.name)))


def _interruptions(after: Revision, workloads: Iterable[ObjectChange]) -> Iterator[str]:
    """What rolls without a second replica to take over."""
    rolling = {(item.kind, item.name) for item in workloads if item.action is ObjectAction.ROLLS}
    for item in after.manifests:
        if (item.kind, _name(item)) not in rolling:
            continue
        spec = item.object.get("spec") or {}
        alone = item.type.in_place and int(spec.get("replicas", 1)) == 1
        if alone or (spec.get("strategy") or {}).get("type") == "Recreate":
            yield f"{item.kind} {_name(item)} is away for a moment while it rolls: no second replica takes over"


def _returns(before: Revision | None, after: Revision) -> Iterator[str]:
    """Services that go back behind a release whose schema is, or may be, contracted: a deploy may refuse them."""
    newest = {
        (item.namespace, mark.service): mark.release
        for item in (before.manifests if before else ())
        if (mark := marked(item.object)) and mark.phase == CONTRACT
    }
    found = {}
    for item in after.manifests:
        mark = marked(item.object)
        if mark is None:
            continue
        service, _, release = mark
        known = newest.get((item.namespace, service))
        if known and order(release) < order(known):
            found[service] = (
                f"{service} goes back from release {known} to {release}: "
                f"the deploy refuses that once its schema has been contracted to {known}"
            )
    yield from found.values()


def hosts(known: Mapping[str, Node], after: Revision, changed: Iterable[str]) -> tuple[HostChange, ...]:
    """The hosts that change from those that are ``known``; ``changed`` are the files that differ."""
    changed = tuple(changed)
    found = []
    for name, node in sorted(after.hosts.items()):
        old = known.get(name)
        if old is None:
            found.append(HostChange(name, ("new",)))
            continue
        why = [path for path in differences(_host_pillar(old), _host_pillar(node)) if path]
        if old.applications != node.applications:
            why.append("applications")
        why += [path for path in changed if _concerns(path, node)]
        if why:
            found.append(HostChange(name, tuple(why), updates.described(node, why)))
    found += [HostChange(name, ("no longer in the model",)) for name in sorted(known.keys() - after.hosts.keys())]
    return tuple(found)


def _host_pillar(node: Node) -> dict[str, Any]:
    pillar = {key: value for key, value in node.parameters.items() if key not in _NOT_OF_HOSTS}
    kubernetes = pillar.get("kubernetes")
    if isinstance(kubernetes, Mapping) and isinstance(kubernetes.get("control"), Mapping):
        # Of kubernetes:control, a host's states read only how to reach the cluster.
        control = {key: kubernetes["control"][key] for key in ("enabled", "kubeconfig") if key in kubernetes["control"]}
        pillar["kubernetes"] = {**kubernetes, "control": control}
    return pillar


def _concerns(path: str, node: Node) -> bool:
    parts = path.split("/")
    if len(parts) < 3 or parts[0] != "formulas":
        return False
    # Extension modules are every minion's.
    return parts[1].startswith("_") or parts[1] in {name.partition(".")[0] for name in node.applications}


def _identity(item: Manifest) -> tuple[str, ...]:
    return (item.deployment, item.object["apiVersion"].rpartition("/")[0], item.kind, item.namespace or "", item.name)


def _name(item: Manifest) -> str:
    name = item.workload.rpartition("/")[2] if item.workload and item.type.once else item.name
    return name if item.namespace in (None, "default") else f"{item.namespace}/{name}"


def _spoken(fields: tuple[str, ...], old: Manifest, new: Manifest) -> tuple[str, ...]:
    """Changed fields in words: images by name, the rest by path."""
    paths = [path for path in fields if not path.endswith(".image") and "annotations" not in path]
    images = (
        {container["image"].partition("@")[0] for container in _containers(new)} if len(paths) < len(fields) else ()
    )
    before = {container["image"] for container in _containers(old)}
    fresh = [item.partition("@")[0] for item in (c["image"] for c in _containers(new)) if item not in before]
    return tuple(dict.fromkeys([f"image {name}" for name in fresh if name in images] + paths))


def _containers(item: Manifest) -> list[dict[str, Any]]:
    take: Callable[[], Iterable[dict[str, Any]]] = item.containers
    return list(take()) if item.workload else []


def _because(why: tuple[str, ...]) -> str:
    if not why:
        return ""
    rest = f" and {len(why) - _SHOWN} more" if len(why) > _SHOWN else ""
    return f" ({', '.join(why[:_SHOWN])}{rest})"
