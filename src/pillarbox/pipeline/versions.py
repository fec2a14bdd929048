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


def refuse_skips(before: Mapping[str, Node], after: Revision) -> None:
    """Raise :class:`PipelineError` where a version goes another way from ``before`` to ``after`` than step by step; it
    has the file and line in which the version is written out."""
    for name, node in sorted(after.hosts.items()):
        if name not in before:
            continue
        for path in HostUpdate.of(node).step_by_step:
            old, new = (lookup(each.parameters, tuple(path.split("."))) for each in (before[name], node))
            if old is MISSING or new is MISSING or (skipped := _skipped(str(old), str(new))) is None:
                continue
            why, hint = skipped
            file, line = _written(name, path, after.inventory)
            raise PipelineError(
                f"host {name}: {path.replace('.', ':')} goes from {old} to {new}: {why}",
                file=file,
                line=line,
                hint=hint.format(old=old),
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
        file, line = _written(first.host, first.rule.path, inventory)
        raised = ":".join(str(part) for part in _written(other.host, other.rule.path, inventory) if part is not None)
        yield PipelineError(
            f"host {first.host}{f' and {len(others)} more' if others else ''}: {first.rule.path.replace('.', ':')} is "
            f"{text}, {why} {other.text} of host {other.host}",
            file=file,
            line=line,
            hint=f"{hint} {raised}.",
        )


def _written(host: str, path: str, inventory: Inventory) -> tuple[str, int | None]:
    """The file and line in which a host's version is written out."""
    keys = path.split(".")
    try:
        origin = inventory.explain(host, ":".join(keys)).origin
    except PillarboxError:
        # A key that has the delimiter in it.
        origin = None
    return (origin.file, origin.line) if origin else inventory.place(host, keys)


def _minor(version: str) -> _Minor | None:
    found = _VERSION.fullmatch(version)
    return (int(found[1]), int(found[2])) if found else None


def _further(newer: _Minor, older: _Minor, most: int) -> bool:
    """Whether a version is more than ``most`` minor versions newer than another; one of another major version is."""
    return newer[0] != older[0] or newer[1] - older[1] > most


def _skipped(old: str, new: str) -> tuple[str, str] | None:
    """What is wrong with a step, and what to do instead; ``None`` for a step that is allowed."""
    have, wanted = _minor(old), _minor(new)
    if have is None or wanted is None:
        return None
    if wanted < have:
        hint = "Stay at {old}, or take another patch release of its minor version."
        return "it does not go back to another minor version", hint
    if _further(wanted, have, 1):
        hint = "Deploy the minor versions between them one after another, from {old} on."
        return "it goes up by one minor version at a time", hint
    return None
