"""In which order objects are applied: what others depend on comes first, and is healthy first."""

from __future__ import annotations

from collections.abc import Collection, Hashable, Mapping, Sequence
from graphlib import CycleError, TopologicalSorter
from typing import TYPE_CHECKING, TypeVar

from pillarbox.manifests import kinds
from pillarbox.manifests.policies import for_all_pods
from pillarbox.rollout.errors import RolloutError

if TYPE_CHECKING:
    from pillarbox.manifests import Manifest

Key = TypeVar("Key", bound=Hashable)


def levels(graph: Mapping[Key, Collection[Key]]) -> tuple[tuple[Key, ...], ...]:
    """The keys of ``graph`` (key -> what it depends on) in as few levels as their dependencies allow.

    Each key stands one level above the highest of what it depends on; keys of one level keep the order of ``graph``.
    Dependencies on keys that ``graph`` lacks are somebody else's to report and count for nothing.

    Raises :class:`RolloutError` naming a cycle.
    """
    sorter = TopologicalSorter({key: [need for need in needs if need in graph] for key, needs in graph.items()})
    try:
        sorter.prepare()
    except CycleError as error:
        raise RolloutError(f"depends_on forms a cycle: {' -> '.join(map(str, reversed(error.args[1])))}") from None
    found: list[tuple[Key, ...]] = []
    while sorter.is_active():
        ready = set(sorter.get_ready())
        found.append(tuple(key for key in graph if key in ready))
        sorter.done(*ready)
    return tuple(found)


def waves(manifests: Sequence[Manifest]) -> tuple[tuple[Manifest, ...], ...]:
    """``manifests`` in waves: wave 0 holds all that waits for nothing and is waited for by nobody, in the order of
    their kinds; later waves hold what has a gate or depends on something, by dependency.

    Wave 0 may be empty, the others never are. Raises :class:`RolloutError` for a dependency that does not exist and
    for a cycle.
    """
    calm: list[Manifest] = []
    moving: dict[str, list[Manifest]] = {}
    for manifest in manifests:
        if manifest.unit is not None and (manifest.gate or manifest.depends_on):
            moving.setdefault(manifest.unit, []).append(manifest)
        else:
            calm.append(manifest)
    known = {manifest.unit for manifest in manifests}
    graph: dict[str, set[str]] = {}
    for name, members in moving.items():
        graph[name] = {need for member in members for need in member.depends_on}
        for need in sorted(graph[name] - known):
            raise RolloutError(
                f"{name} depends on {need}, which the model does not have",
                file=members[0].filename,
                hint="depends_on takes service/<name>, job/<name> and object/<name> of kubernetes:control.",
            )
    ranked = levels(graph)
    return (
        tuple(sorted(calm, key=_calm_order)),
        *(tuple(manifest for name in level for manifest in moving[name]) for level in ranked),
    )


def _calm_order(manifest: Manifest) -> tuple[int, str, bool, str]:
    # What allows pods something comes before what keeps all pods from everything.
    return (kinds.order(manifest.type), manifest.kind, for_all_pods(manifest.object), manifest.filename)
