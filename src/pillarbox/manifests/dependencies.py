"""What waits for what: names made whole, cycles refused."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from graphlib import CycleError, TopologicalSorter

from pillarbox.manifests.definitions import definition
from pillarbox.manifests.errors import Problems
from pillarbox.manifests.manifest import Manifest
from pillarbox.system.names import did_you_mean

Finder = Callable[[Manifest, str], Manifest | None]


def finder(manifests: Iterable[Manifest]) -> Finder:
    """What finds the unit that one of ``manifests`` calls by a name.

    A pillar says ``service/<name>``, ``job/<name>`` or ``object/<name>``; the name is the object's, or its key in the
    pillar of the same node. Another namespace's stands as ``<namespace>/service/<name>``.
    """
    units = [each for each in manifests if each.unit]
    known = {(each.deployment, each.unit): each for each in units}
    keys = {(each.deployment, each.node, "/".join(each.place.path[-2:])): each for each in units}

    def find(asking: Manifest, name: str) -> Manifest | None:
        return (
            known.get((asking.deployment, name))
            or known.get((asking.deployment, f"{asking.namespace}/{name}"))
            or keys.get((asking.deployment, asking.node, name))
        )

    return find


def resolved(manifests: Iterable[Manifest], problems: Problems) -> tuple[Manifest, ...]:
    """``manifests`` whose ``depends_on`` are units of their deployment.

    An object of a kind that the model defines depends on the definition without saying so.
    """
    found = tuple(manifests)
    find = finder(found)
    defined = [(each, what) for each in found if each.unit and (what := definition(each.object))]
    changed = []
    for each in found:
        whole = [
            str(other.unit)
            for other, what in defined
            if other.deployment == each.deployment and what.defines(each.object["apiVersion"], each.kind)
        ]
        for name in each.depends_on:
            if needed := find(each, name):
                whole.append(str(needed.unit))
            else:
                candidates = [str(other.unit) for other in found if other.unit and other.deployment == each.deployment]
                hint = did_you_mean(name, candidates) or "Expected service/<name>, job/<name> or object/<name>."
                problems.add(each.place / "depends_on", f"depends on {name}, which does not exist", hint)
        changed.append(replace(each, depends_on=tuple(dict.fromkeys(whole))) if whole or each.depends_on else each)
    for deployment in sorted({each.deployment for each in found}):
        _refuse_cycles([each for each in changed if each.deployment == deployment and each.unit], problems)
    return tuple(changed)


def _refuse_cycles(units: list[Manifest], problems: Problems) -> None:
    try:
        TopologicalSorter({each.unit: each.depends_on for each in units}).prepare()
    except CycleError as error:
        cycle = [str(name) for name in reversed(error.args[1])]
        first = next(each for each in units if each.unit == cycle[0])
        problems.add(first.place / "depends_on", f"dependencies form a cycle: {' -> '.join(cycle)}")
