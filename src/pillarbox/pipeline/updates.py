"""How a deploy updates hosts: which before which, which by itself, which with its pods moved first, and what no update
may skip. The pillar ``pillarbox:update`` of each host says so."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pillarbox.model import Node
from pillarbox.model.merge.query import MISSING, lookup
from pillarbox.pipeline.errors import PipelineError

_VERSION = re.compile(r"(\d+)\.(\d+)(\.\d+)*")


@dataclass(frozen=True)
class Drain:
    """The node of a cluster that a host is, and how many seconds its pods have to go. ``kubeconfig`` is the model's."""

    node: str
    kubeconfig: Path | None
    patience: float


@dataclass(frozen=True)
class Group:
    """Hosts that are updated at the same time, once those before them are well; ``drain`` is for a host by itself.
    ``states`` are those that are applied, where it is not the highstate."""

    hosts: tuple[str, ...]
    drain: Drain | None = None
    states: tuple[str, ...] = ()


@dataclass(frozen=True)
class HostUpdate:
    """What the pillar ``pillarbox:update`` of a host says; paths have dots."""

    stage: int = 0
    before: tuple[str, ...] = ()
    alone: tuple[str, ...] = ()
    drain: Drain | None = None
    step_by_step: tuple[str, ...] = ()

    @classmethod
    def of(cls, node: Node) -> HostUpdate:
        """What ``node`` says. Raises :class:`PipelineError` for what cannot be meant."""
        given = lookup(node.parameters, ("pillarbox", "update"))
        if given is MISSING:
            return cls()
        try:
            return cls(
                int(given.get("stage", 0)),
                _texts(given.get("before", ())),
                _paths(given.get("alone", ())),
                _drain(given.get("drain")),
                _paths(given.get("step_by_step", ())),
            )
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise PipelineError(
                f"pillarbox:update of host {node.name} is not of its schema: {error}",
                file=node.file,
                hint="The README of the formula pillarbox shows it.",
            ) from None

    def by_itself(self, changed: Iterable[str]) -> tuple[str, ...]:
        """Which of the ``changed`` paths of its pillar and files have the host updated by itself: files of a formula do
        where all of its pillar does. One that may be new has nothing running yet."""
        if "new" in (changed := tuple(changed)):
            return ()
        paths = {path: re.sub(r"^formulas/([^/]+)/.*", r"\1", path) for path in changed}
        return tuple(path for path in paths if any(f"{paths[path]}.".startswith(f"{each}.") for each in self.alone))

    def prepared(self, changed: Iterable[str]) -> tuple[str, ...]:
        """Which states the ``changed`` paths of its pillar and files have applied before any host is updated: those of
        formulas that change, in their pillar or their files."""
        formulas = {re.split(r"[./]", path.removeprefix("formulas/"))[0] for path in changed}
        every = formulas & {"new", "applications"}
        return tuple(state for state in self.before if every or state.split(".")[0] in formulas)


def groups(changes: Mapping[str, Sequence[str]], hosts: Mapping[str, Node]) -> tuple[Group, ...]:
    """The hosts that change, in the order in which they do. ``changes`` has the changed paths of each by its name."""
    found: list[Group] = []
    together: dict[tuple[bool, int, bool], list[str]] = {}
    single: dict[tuple[bool, int, bool], list[Group]] = {}
    for name, changed in sorted(changes.items()):
        update = HostUpdate.of(hosts[name])
        # The states of a host with a master may restart the very master that waits for them. Hosts that are there know
        # of a new one before it comes.
        rank = ("master" in hosts[name].parameters["salt"], update.stage, "new" in changed)
        if states := update.prepared(changed):
            found.append(Group((name,), states=states))
        if update.by_itself(changed):
            single.setdefault(rank, []).append(Group((name,), update.drain))
        else:
            together.setdefault(rank, []).append(name)
    for rank in sorted(together.keys() | single.keys()):
        found += [Group(tuple(together[rank]))] if rank in together else []
        found += single.get(rank, [])
    return tuple(found)


def described(node: Node, changed: Iterable[str]) -> str:
    """How a host is updated whose pillar differs at the ``changed`` paths, in words; nothing where it is as always."""
    update, changed, words = HostUpdate.of(node), tuple(changed), []
    if states := update.prepared(changed):
        words.append(f"{' '.join(states)} before any host is updated")
    if update.by_itself(changed):
        words.append(f"by itself, pods move off node {update.drain.node} first" if update.drain else "by itself")
    return "; ".join(words)


#: Where a host's value at a path of its pillar is set: the file, and the line where that is known.
Place = Callable[[str, Sequence[str]], tuple[str, int | None]]


def refuse_skips(before: Mapping[str, Node], after: Mapping[str, Node], place: Place | None = None) -> None:
    """Raise :class:`PipelineError` where a version goes another way from ``before`` to ``after`` than step by step."""
    for name, node in sorted(after.items()):
        if name not in before:
            continue
        for path in HostUpdate.of(node).step_by_step:
            old, new = (lookup(each.parameters, tuple(path.split("."))) for each in (before[name], node))
            if old is MISSING or new is MISSING or (skipped := _skipped(str(old), str(new))) is None:
                continue
            why, hint = skipped
            text = f"host {name}: {path.replace('.', ':')} goes from {old} to {new}: {why}"
            raise _at(node, path, place, text, hint.format(old=old))


def refuse_disorder(hosts: Mapping[str, Node], place: Place | None = None) -> None:
    """Raise :class:`PipelineError` where a host has a newer minor version than one that is updated before it.

    That is one of a lower stage with the same ``_param:cluster_name``, and the same path under ``step_by_step``.
    """
    oldest: dict[tuple[str, str], list[tuple[int, tuple[int, int], str, str]]] = {}
    for name, node in sorted(hosts.items()):
        update, cluster = HostUpdate.of(node), lookup(node.parameters, ("_param", "cluster_name"))
        for path in update.step_by_step:
            version = str(lookup(node.parameters, tuple(path.split("."))))
            if found := _VERSION.fullmatch(version):
                known = oldest.setdefault((path, str(cluster)), [])
                known.append((update.stage, (int(found[1]), int(found[2])), name, version))
    for (path, _), known in oldest.items():
        for stage, minor, name, version in known:
            for earlier, other, first, of_first in known:
                if earlier < stage and other < minor:
                    where = path.replace(".", ":")
                    text = f"host {name}: {where} is {version}, newer than the {of_first} of host {first}"
                    hint = f"Host {first} is updated before {name}, and has to be as new."
                    raise _at(hosts[name], path, place, text, hint)


def _at(node: Node, path: str, place: Place | None, text: str, hint: str) -> PipelineError:
    file, line = place(node.name, path.split(".")) if place else (node.file, None)
    return PipelineError(text, file=file, line=line, hint=hint)


def _skipped(old: str, new: str) -> tuple[str, str] | None:
    """What is wrong with a step, and what to do instead; ``None`` for a step that is allowed."""
    found = [_VERSION.fullmatch(version) for version in (old, new)]
    if not all(found) or old == new:
        return None
    (major, minor), (wanted_major, wanted_minor) = ((int(one[1]), int(one[2])) for one in found if one)
    if (wanted_major, wanted_minor) < (major, minor):
        hint = "Stay at {old}, or take another patch release of its minor version."
        return "it does not go back to another minor version", hint
    if (major, wanted_minor - minor) != (wanted_major, min(wanted_minor - minor, 1)):
        hint = "Deploy the minor versions between them one after another, from {old} on."
        return "it goes up by one minor version at a time", hint
    return None


def _paths(given: Any) -> tuple[str, ...]:
    return tuple(path.replace(":", ".") for path in _texts(given))


def _texts(given: Any) -> tuple[str, ...]:
    if isinstance(given, str):
        raise ValueError(f"expected a list, found {given!r}")
    return tuple(str(text) for text in given)


def _drain(given: Any) -> Drain | None:
    if given is None:
        return None
    named = given.get("kubeconfig")
    return Drain(str(given["node"]), None if named is None else Path(named), float(given.get("timeout", 600)))
