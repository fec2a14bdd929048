"""Which versions hosts may have: after what they had, and beside each other. The pillar ``pillarbox:update`` says at
which paths. What is no version such as 1.37.2 is not compared."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from pillarbox.model import Inventory, Node
from pillarbox.model.merge.query import MISSING, lookup
from pillarbox.pipeline.errors import PipelineError
from pillarbox.pipeline.updates import Beside, HostUpdate
from pillarbox.revision import Revision
from pillarbox.system.errors import PillarboxError, raise_all

_VERSION = re.compile(r"(\d+)\.(\d+)(\.\d+)*")
_Minor = tuple[int, int]


@dataclass(frozen=True)
class _Version:
    """What a host has at a path, and what the host says about it."""

    host: str
    text: str
    minor: _Minor
    rule: Beside


def refuse_skips(before: Mapping[str, Node], after: Mapping[str, Node]) -> None:
    """Raise :class:`PipelineError` where a version goes another way from ``before`` to ``after`` than step by step."""
    for name, node in sorted(after.items()):
        if name not in before:
            continue
        for path in HostUpdate.of(node).step_by_step:
            old, new = (lookup(each.parameters, tuple(path.split("."))) for each in (before[name], node))
            if old is MISSING or new is MISSING or (why := _skipped(str(old), str(new))) is None:
                continue
            raise PipelineError(
                f"host {name}: {path.replace('.', ':')} goes from {old} to {new}: {why}",
                file=node.file,
                hint=f"Deploy the minor versions between them one after another, from {old} on.",
            )


def refuse_apart(revision: Revision) -> None:
    """Raise a :class:`PipelineError` for each version of a revision's hosts that does not go with another's, all
    together; it has the file and line in which the version is written out."""
    groups: dict[tuple[str, str], list[_Version]] = {}
    for name, node in sorted(revision.hosts.items()):
        for rule in HostUpdate.of(node).side_by_side:
            text = str(lookup(node.parameters, tuple(rule.path.split("."))))
            if minor := _minor(text):
                groups.setdefault((rule.path, rule.group), []).append(_Version(name, text, minor, rule))
    raise_all([error for group in groups.values() for error in _apart(group, revision.inventory)])


def _apart(group: Sequence[_Version], inventory: Inventory) -> Iterator[PipelineError]:
    """What is wrong in one group, once for all hosts of which the same is."""
    leaders = [each for each in group if each.rule.leads]
    if not leaders:
        return
    oldest, newest = (choose(leaders, key=lambda each: each.minor) for choose in (min, max))
    wrong: dict[tuple[str, int | None], list[_Version]] = {}
    for each in group:
        if not each.rule.leads and each.minor > oldest.minor:
            wrong.setdefault((each.text, None), []).append(each)
        elif _further(newest.minor, each.minor, each.rule.behind):
            wrong.setdefault((each.text, each.rule.behind), []).append(each)
    for (text, behind), (first, *others) in wrong.items():
        if behind is None:
            other, why = oldest, "newer than"
            hint = f"Raise {other.host} before, or in the same push: its version is at"
        else:
            other, why = newest, f"more than {behind} minor version{'' if behind == 1 else 's'} behind"
            hint = f"Raise {first.host} before {other.host}, whose version is at"
        file, line = _written(first, inventory)
        raised = ":".join(str(part) for part in _written(other, inventory) if part is not None)
        yield PipelineError(
            f"host {first.host}{f' and {len(others)} more' if others else ''}: {first.rule.path.replace('.', ':')} is "
            f"{text}, {why} {other.text} of host {other.host}",
            file=file,
            line=line,
            hint=f"{hint} {raised}.",
        )


def _written(version: _Version, inventory: Inventory) -> tuple[str, int | None]:
    """The file and line in which a version is written out."""
    path = version.rule.path.split(".")
    try:
        origin = inventory.explain(version.host, ":".join(path)).origin
    except PillarboxError:
        # A key that has the delimiter in it.
        origin = None
    return (origin.file, origin.line) if origin else inventory.place(version.host, path)


def _minor(version: str) -> _Minor | None:
    found = _VERSION.fullmatch(version)
    return (int(found[1]), int(found[2])) if found else None


def _further(newer: _Minor, older: _Minor, most: int) -> bool:
    """Whether a version is more than ``most`` minor versions newer than another; one of another major version is."""
    return newer[0] != older[0] or newer[1] - older[1] > most


def _skipped(old: str, new: str) -> str | None:
    have, wanted = _minor(old), _minor(new)
    if have is None or wanted is None:
        return None
    if wanted < have:
        return "it does not go back to another minor version"
    if _further(wanted, have, 1):
        return "it goes up by one minor version at a time"
    return None
