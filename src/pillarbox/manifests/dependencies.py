"""What waits for what: names made whole, cycles refused."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from graphlib import CycleError, TopologicalSorter

from pillarbox.manifests import names
from pillarbox.manifests.errors import Problems
from pillarbox.manifests.manifest import Manifest


def resolved(manifests: Iterable[Manifest], problems: Problems) -> tuple[Manifest, ...]:
    """``manifests`` whose ``depends_on`` are names of workloads of their deployment.

    A pillar says ``service/<name>`` or ``job/<name>``; the name is the object's, or its key in the pillar of the same
    node. Another namespace's stands as ``<namespace>/service/<name>``.
    """
    found = tuple(manifests)
    known = {(each.deployment, each.workload): each for each in found if each.workload}
    keys = {
        (each.deployment, each.node, "/".join(each.place.path[-2:])): each.workload for each in found if each.workload
    }
    changed = []
    for each in found:
        whole = []
        for name in each.depends_on:
            if (each.deployment, name) in known:
                whole.append(name)
            elif (each.deployment, f"{each.namespace}/{name}") in known:
                whole.append(f"{each.namespace}/{name}")
            elif workload := keys.get((each.deployment, each.node, name)):
                whole.append(workload)
            else:
                candidates = [str(workload) for deployment, workload in known if deployment == each.deployment]
                hint = names.nearest(name, candidates) or "Expected service/<name> or job/<name>."
                problems.add(each.place / "depends_on", f"depends on {name}, which does not exist", hint)
        changed.append(replace(each, depends_on=tuple(dict.fromkeys(whole))) if each.depends_on else each)
    for deployment in sorted({each.deployment for each in found}):
        _refuse_cycles([each for each in changed if each.deployment == deployment and each.workload], problems)
    return tuple(changed)


def _refuse_cycles(workloads: list[Manifest], problems: Problems) -> None:
    try:
        TopologicalSorter({each.workload: each.depends_on for each in workloads}).prepare()
    except CycleError as error:
        cycle = [str(name) for name in reversed(error.args[1])]
        first = next(each for each in workloads if each.workload == cycle[0])
        problems.add(first.place / "depends_on", f"dependencies form a cycle: {' -> '.join(cycle)}")
