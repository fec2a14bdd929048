"""In which order objects are applied: what others depend on comes first, and is healthy first."""

from __future__ import annotations

from collections.abc import Collection, Hashable, Mapping, Sequence
from typing import TYPE_CHECKING, TypeVar

from pillarbox.rollout.errors import RolloutError

if TYPE_CHECKING:
    from pillarbox.manifests import Manifest

Key = TypeVar("Key", bound=Hashable)

#: Kinds of wave 0 in the order they need each other; what is not named here follows, by name.
_FIRST = (
    "Namespace",
    "CustomResourceDefinition",
    "PriorityClass",
    "StorageClass",
    "PersistentVolume",
    "ServiceAccount",
    "ClusterRole",
    "ClusterRoleBinding",
    "Role",
    "RoleBinding",
    "Secret",
    "ConfigMap",
    "PersistentVolumeClaim",
    "Service",
)


def levels(graph: Mapping[Key, Collection[Key]]) -> tuple[tuple[Key, ...], ...]:
    """The keys of ``graph`` (key -> what it depends on) in as few levels as their dependencies allow.

    Each key stands one level above the highest of what it depends on; keys of one level keep the order of ``graph``.
    Dependencies on keys that ``graph`` lacks are somebody else's to report and count for nothing.

    Raises :class:`RolloutError` naming a cycle.
    """
    remaining = {key: {need for need in needs if need in graph} for key, needs in graph.items()}
    found: list[tuple[Key, ...]] = []
    while remaining:
        ready = tuple(key for key, needs in remaining.items() if not needs)
        if not ready:
            raise RolloutError(f"depends_on forms a cycle: {' -> '.join(map(str, _cycle(remaining)))}")
        found.append(ready)
        done = set(ready)
        remaining = {key: needs - done for key, needs in remaining.items() if key not in done}
    return tuple(found)


def waves(manifests: Sequence[Manifest]) -> tuple[tuple[Manifest, ...], ...]:
    """``manifests`` in waves: wave 0 holds all that needs no gate, later waves the workloads by dependency.

    Wave 0 may be empty, the others never are. Raises :class:`RolloutError` for a dependency that does not exist and
    for a cycle.
    """
    calm = sorted((m for m in manifests if m.workload is None), key=_calm_order)
    moving: dict[str, list[Manifest]] = {}
    for manifest in manifests:
        if manifest.workload is not None:
            moving.setdefault(manifest.workload, []).append(manifest)
    graph: dict[str, set[str]] = {}
    for name, members in moving.items():
        graph[name] = {need for member in members for need in member.depends_on}
        for need in sorted(graph[name] - moving.keys()):
            raise RolloutError(
                f"{name} depends on {need}, which the model does not have",
                file=members[0].filename,
                hint="depends_on takes service/<name> and job/<name> of kubernetes:control.",
            )
    ranked = levels(graph)
    return (
        tuple(calm),
        *(tuple(manifest for name in level for manifest in moving[name]) for level in ranked),
    )


def _calm_order(manifest: Manifest) -> tuple[int, str, str]:
    kind = manifest.object["kind"]
    return (_FIRST.index(kind) if kind in _FIRST else len(_FIRST), kind, manifest.filename)


def _cycle(graph: Mapping[Key, Collection[Key]]) -> list[Key]:
    # Every key left has a dependency that is left too: following any of them must come round.
    path: list[Key] = [next(iter(graph))]
    while True:
        following = next(iter(sorted(graph[path[-1]], key=str)))
        if following in path:
            return [*path[path.index(following) :], following]
        path.append(following)
