"""From a node's classes to merged layers: which files a node uses, in which order, and what they merge to.

Nodes that begin with the same classes share the merged result of that beginning (a tree of :class:`MergeState`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pillarbox.model.errors import ModelError
from pillarbox.model.merge.applications import merge_applications
from pillarbox.model.merge.cells import AUTOMATIC, OpenDict, merge_dicts
from pillarbox.model.merge.entity import ClassUse, Entity
from pillarbox.model.merge.problems import Problem
from pillarbox.model.merge.render import Renderer
from pillarbox.model.merge.template import Syntax
from pillarbox.model.read.settings import CONFIG, Settings
from pillarbox.system.errors import PillarboxError

MAX_STATES = 40_000
MAX_CLASS_DEPTH = 200


@dataclass(frozen=True)
class MergeStep:
    """One file that a node uses: the class it is (``None`` for the node's own), and how the node came by it."""

    entity: Entity
    name: str | None
    chain: tuple[str, ...]


class MergeState:
    """What has been merged after some files; never changed once other nodes can see it."""

    __slots__ = ("applications", "classes", "exports", "following", "missing", "parameters", "seen", "steps")

    def __init__(self) -> None:
        self.parameters: dict[str, Any] = {}
        self.exports: dict[str, Any] = {}
        self.classes: tuple[str, ...] = ()
        self.applications: tuple[str, ...] = ()
        self.seen: frozenset[str] = frozenset()
        self.missing: tuple[str, ...] = ()
        self.steps: tuple[MergeStep, ...] = ()
        self.following: dict[str, MergeState] = {}


@dataclass(frozen=True)
class Choice:
    """A class that references in a ``classes`` list chose: the entry, its file, and what had been merged by then."""

    name: str
    use: ClassUse
    file: str
    state: MergeState


@dataclass(frozen=True)
class Merged:
    """One node before rendering."""

    name: str
    entity: Entity
    environment: str
    automatic: dict[str, Any]
    mapped: tuple[ClassUse, ...]
    """The classes that the configuration gives the node by its name."""
    state: MergeState

    @property
    def used(self) -> tuple[str, ...]:
        """The classes that the node is made of, and those that it asked for and that are not there."""
        return (*(step.name for step in self.state.steps if step.name is not None), *self.state.missing)


class Layering:
    """Merges the classes of nodes. ``load`` gives the entity of a class, or ``None`` for a class that is not there."""

    def __init__(self, settings: Settings, syntax: Syntax, load: Callable[[str], Entity | None]) -> None:
        self.settings = settings
        self.syntax = syntax
        self.load = load
        self._roots: dict[tuple[str, ...], MergeState] = {}
        self._count = 0

    def merged(
        self, entity: Entity, mapped: tuple[ClassUse, ...], automatic: dict[str, Any]
    ) -> tuple[MergeState, list[PillarboxError]]:
        """What a node's files merge to, the node's own last; and all that is wrong with its classes."""
        if self._count > MAX_STATES:
            self._roots.clear()
            self._count = 0
        key = tuple(use.name for use in mapped)
        walk = _Walk(self, automatic)
        root = self._roots.get(key)
        if root is None:
            root = walk.root(mapped)
            if walk.shareable and not walk.errors:
                self._roots[key] = root
        state = root
        for use in entity.classes:
            state = walk.follow(state, use, entity)
        walk.begin(state)
        walk.merge(MergeStep(entity, None, ()))
        return walk.end(), walk.errors

    def choices(self, merged: Merged) -> dict[str, Choice]:
        """The classes of a node that references chose, by name.

        Merging keeps no record of them: this walks through the node's classes again.
        """
        found: dict[str, Choice] = {}
        walk = _Walk(self, merged.automatic, found)
        walk.begin(walk.root(merged.mapped))
        for use in merged.entity.classes:
            walk.descend(use, merged.entity, ())
        return found

    def remember(self, state: MergeState, name: str, following: MergeState) -> None:
        """Let other nodes that begin alike have ``following``."""
        state.following[name] = following
        self._count += 1


class _Walk:
    """The walk through one node's classes; ``choices`` takes those that references chose, where somebody asks."""

    def __init__(self, layering: Layering, automatic: dict[str, Any], choices: dict[str, Choice] | None = None) -> None:
        self.layering = layering
        self.automatic = automatic
        self.errors: list[PillarboxError] = []
        self.choices = choices
        self.shareable = True
        self.parameters: dict[str, Any] = {}
        self.exports: dict[str, Any] = {}
        self.classes: dict[str, None] = {}
        self.begin(MergeState())

    def root(self, mapped: tuple[ClassUse, ...]) -> MergeState:
        base = Entity(file=CONFIG, digest=b"", classes=mapped)
        self.begin(MergeState())
        for use in mapped:
            self.descend(use, base, ())
        self.classes.update(dict.fromkeys(use.name for use in mapped))
        if self.layering.settings.automatic_parameters:
            self.parameters = merge_dicts(self.parameters, OpenDict({"_reclass_": AUTOMATIC}))
        return self.end()

    def follow(self, state: MergeState, use: ClassUse, entity: Entity) -> MergeState:
        """The state after one more class of the node itself."""
        name = use.name
        if use.parts is not None:
            self.begin(state)
            resolved = self.resolve(use, entity)
            if resolved is None:
                return state
            name = resolved
        if name in state.seen:
            return state
        known = state.following.get(name)
        if known is not None:
            return known
        # How the name came about says nothing about what follows from it.
        self.shareable = True
        errors = len(self.errors)
        self.begin(state)
        self.enter(name, use, entity, ())
        following = self.end()
        if self.shareable and len(self.errors) == errors:
            self.layering.remember(state, name, following)
        return following

    def begin(self, state: MergeState) -> None:
        self.parameters = state.parameters
        self.exports = state.exports
        self.classes = dict.fromkeys(state.classes)
        self.applications = state.applications
        self.seen = set(state.seen)
        self.missing = list(state.missing)
        self.steps = list(state.steps)
        self.active: list[str] = []

    def end(self) -> MergeState:
        state = MergeState()
        state.parameters = self.parameters
        state.exports = self.exports
        state.classes = tuple(self.classes)
        state.applications = self.applications
        state.seen = frozenset(self.seen)
        state.missing = tuple(self.missing)
        state.steps = tuple(self.steps)
        return state

    def descend(self, use: ClassUse, user: Entity, chain: tuple[str, ...]) -> None:
        """Merge a class that ``user`` names: first what it uses itself, then its own layer."""
        name = use.name
        if use.parts is not None:
            resolved = self.resolve(use, user)
            if resolved is None:
                return
            name = resolved
        if name in self.seen:
            return
        if self.choices is not None and use.parts is not None:
            self.choices[name] = Choice(name, use, user.file, self.end())
        self.enter(name, use, user, chain)

    def enter(self, name: str, use: ClassUse, user: Entity, chain: tuple[str, ...]) -> None:
        """Merge the class ``name``, which is what ``use`` names."""
        if name in self.active:
            cycle = [*self.active[self.active.index(name) :], name]
            self.error(f"classes form a cycle: {' -> '.join(cycle)}", use, user)
            return
        if len(self.active) > MAX_CLASS_DEPTH:
            self.error(f"classes use each other more than {MAX_CLASS_DEPTH} levels deep", use, user)
            return
        try:
            entity = self.layering.load(name)
        except ModelError as error:
            self.errors.append(error)
            self.seen.add(name)
            return
        if entity is None:
            self.missing.append(name)
            if not self.layering.settings.ignores(name):
                self.errors.append(ClassMissing(name, use, user.file, tuple(self.steps)))
                self.seen.add(name)
            return
        if entity.errors:
            self.errors.extend(entity.errors)
        self.active.append(name)
        below = (*chain, name)
        for each in entity.classes:
            self.descend(each, entity, below)
        self.active.pop()
        self.merge(MergeStep(entity, name, chain))
        self.seen.add(name)

    def merge(self, step: MergeStep) -> None:
        entity = step.entity
        if entity.parameters:
            self.parameters = merge_dicts(self.parameters, entity.parameters)
        if entity.exports:
            self.exports = merge_dicts(self.exports, entity.exports)
        if entity.applications:
            self.applications = merge_applications(self.applications, entity.applications)
        for use in entity.classes:
            self.classes[use.name] = None
        self.steps.append(step)

    def resolve(self, use: ClassUse, user: Entity) -> str | None:
        """The name that a class entry's references make, from what has been merged so far."""
        assert use.parts is not None
        layering = self.layering
        renderer = Renderer(self.parameters, self.automatic, layering.settings, layering.syntax)
        try:
            name = renderer.text(use.parts)
        except Problem as problem:
            self.errors.append(ClassNameProblem(use, user.file, problem))
            return None
        finally:
            if renderer.used_automatic:
                self.shareable = False
        if renderer.problems:
            self.errors.append(ClassNameProblem(use, user.file, renderer.problems[0]))
            return None
        return name

    def error(self, message: str, use: ClassUse, user: Entity) -> None:
        self.errors.append(ClassProblem(message, use, user.file))


class ClassProblem(ModelError):
    """Something is wrong with one entry of a ``classes`` list."""

    def __init__(self, message: str, use: ClassUse, file: str, hint: str | None = None) -> None:
        super().__init__(message, file=file or None, hint=hint)
        self.use = use


class ClassMissing(ClassProblem):
    """A class is not there; ``steps`` were merged before."""

    def __init__(self, name: str, use: ClassUse, file: str, steps: tuple[MergeStep, ...]) -> None:
        super().__init__(f"class {name} does not exist", use, file)
        self.name = name
        self.steps = steps


class ClassNameProblem(ClassProblem):
    """The references in a class's name do not resolve."""

    def __init__(self, use: ClassUse, file: str, problem: Problem) -> None:
        super().__init__(f"class name {use.name} does not resolve", use, file)
        self.problem = problem
