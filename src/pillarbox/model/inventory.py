"""The inventory: nodes of a reclass model, rendered when asked for."""

from __future__ import annotations

import posixpath
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pillarbox.model.errors import ModelError
from pillarbox.model.keep.cache import Cache, default_directory
from pillarbox.model.merge.model import Model
from pillarbox.model.merge.plain import TooMany, copy_plain
from pillarbox.model.merge.rendered import Rendered
from pillarbox.model.read.gittree import GitTree
from pillarbox.model.read.settings import CONFIG, Settings, read_settings
from pillarbox.model.read.tree import DirectoryTree, Tree
from pillarbox.system.errors import PillarboxError, raise_all

# What answers questions is imported when somebody asks: whoever only renders, a push above all, need not wait for it.
if TYPE_CHECKING:
    from pillarbox.model.ask.diff import Difference
    from pillarbox.model.ask.explanation import Explanation
    from pillarbox.model.ask.lint import Finding
    from pillarbox.model.ask.schemas import Schemas
    from pillarbox.model.ask.usage import Usage
    from pillarbox.model.ask.where import Occurrence

_KEPT = 2048


@dataclass(frozen=True)
class Node:
    """One rendered node: what reclass calls nodeinfo, as plain data."""

    name: str
    source: str
    environment: str
    classes: tuple[str, ...]
    applications: tuple[str, ...]
    parameters: Mapping[str, Any] = field(hash=False)
    exports: Mapping[str, Any] = field(hash=False)

    @property
    def file(self) -> Path:
        """The node's own file, seen from the model's directory."""
        return Path(self.source)

    def as_dict(self) -> dict[str, Any]:
        """The node in the shape that ``reclass --nodeinfo`` prints, without its timestamp."""
        return {
            "environment": self.environment,
            "classes": list(self.classes),
            "applications": list(self.applications),
            "parameters": dict(self.parameters),
            "exports": dict(self.exports),
        }


class Inventory:
    """The model under ``path``, a directory that holds ``nodes/`` and ``classes/``, or that directory at ``revision``.

    ``reclass-config.yml`` in that directory is honoured. A class's file is read when a node first needs it, and not
    again; a node's own file when the node is merged. It may be used from several threads, and in forked processes.

    ``cache`` is the directory of the disk cache, ``None`` for none; by default ``$PILLARBOX_CACHE``, else the user's
    cache directory. ``revision`` is any name that git knows a commit or tree by; the files come from git's objects.

    Raises :class:`ModelError` when the directory is no model, and from ``node`` when that node does not render.
    """

    def __init__(self, path: str | Path, *, revision: str | None = None, cache: str | Path | None = "default") -> None:
        self.path = Path(path).resolve()
        self.revision = revision
        if not self.path.is_dir():
            raise ModelError(f"no directory {self.path}", hint="Name the model's directory with --model.")
        self.tree: Tree = DirectoryTree(self.path) if revision is None else GitTree(self.path, revision)
        """The files that all of this comes from."""
        directory = default_directory() if cache == "default" else cache
        store = Cache(Path(directory)) if directory is not None else None
        self._model = Model(self.tree, _inside(read_settings(self.tree)), store)
        self._lock = threading.Lock()
        self._rendered: dict[str, Rendered] = {}
        self.nodes: tuple[str, ...] = self._model.sources.nodes
        """The names of all nodes, sorted."""
        self.classes: tuple[str, ...] = tuple(sorted(self._model.sources.class_files))
        """The names of all classes, sorted."""

    def node(self, name: str) -> Node:
        """Render one node; its data belongs to the caller.

        Raises :class:`ModelError` for an unknown node, and all that is wrong with a node that does not render.
        """
        with self._lock:
            rendered = self._rendered.get(name)
        if rendered is None:
            rendered = self._model.render(name)
            self._model.flush()
            self._keep(rendered)
        return _own(rendered)

    def _keep(self, rendered: Rendered) -> None:
        with self._lock:
            if len(self._rendered) >= _KEPT:
                self._rendered.pop(next(iter(self._rendered)))
            self._rendered[rendered.name] = rendered

    def all(self) -> tuple[Node, ...]:
        """Every node, sorted by name. Raises what is wrong with all of them together."""
        nodes: list[Node] = []
        errors: list[PillarboxError] = []
        for rendered in self._model.each(errors):
            try:
                nodes.append(_own(rendered))
            except PillarboxError as error:
                errors.append(error)
            self._keep(rendered)
        raise_all(errors)
        return tuple(nodes)

    def stream(self) -> Iterator[Node]:
        """Every node, sorted by name, one at a time, for models of any size.

        Nodes share data with one another: read it, do not change it. Raises at the end, together, what is wrong with
        any of them.
        """
        errors: list[PillarboxError] = []
        for rendered in self._model.each(errors):
            yield _node(rendered)
        raise_all(errors)

    def explain(self, node: str, path: str) -> Explanation:
        """Where the parameter at ``path`` (``a:b:c``) of ``node`` comes from. Raises :class:`ModelError`."""
        from pillarbox.model.ask.explain import explain

        return explain(self._model, node, path)

    def place(self, node: str, path: Sequence[str]) -> tuple[str, int | None]:
        """The file and line that set the parameter at ``path`` of ``node`` last, or what is nearest above it."""
        return self._model.reporter.place(self._model.merged(node), tuple(path))

    def usage(self, class_name: str) -> Usage:
        """Which nodes use a class, and how they come by it. Raises :class:`ModelError` for an unknown class."""
        from pillarbox.model.ask.usage import usage

        return usage(self._model, class_name)

    def where(self, wanted: str, node: str | None = None) -> tuple[Occurrence, ...]:
        """The places that set the parameter at the path ``wanted``, or write the value ``wanted``."""
        from pillarbox.model.ask.where import where

        return where(self._model, wanted, node)

    def lint(self) -> tuple[Finding, ...]:
        """What is doubtful about the model, sorted by file and line."""
        from pillarbox.model.ask.lint import lint

        return lint(self._model)

    def unknown_keys(self, nodes: Iterable[Node]) -> tuple[Finding, ...]:
        """The keys of ``nodes`` that no schema of their formula knows, as ``lint`` finds them, and nothing else.

        Raises :class:`ModelError` for a schema that does not read.
        """
        return self._findings(nodes, self._schemas.unknown)

    def refused(self, nodes: Iterable[Node]) -> tuple[Finding, ...]:
        """The values of ``nodes`` that a schema of their formula refuses, as ``lint`` finds them, and nothing else.

        Raises :class:`ModelError` for a schema that is none.
        """
        return self._findings(nodes, self._schemas.refused)

    @cached_property
    def _schemas(self) -> Schemas:
        from pillarbox.model.ask.schemas import Schemas

        return Schemas(self.tree)

    def _findings(
        self, nodes: Iterable[Node], ask: Callable[[Mapping[str, Any]], Iterable[tuple[tuple[str, ...], str]]]
    ) -> tuple[Finding, ...]:
        found = [(node.name, *each) for node in nodes for each in ask(node.parameters)]
        if not found:
            return ()
        from pillarbox.model.ask.lint import of_schemas

        return of_schemas(self._model, found)

    def changes_since(self, before: Inventory, node: str | None = None) -> Iterator[Difference]:
        """Which values of which nodes differ from ``before``. Raises at the end what does not render."""
        from pillarbox.model.ask.diff import diff

        return diff(before._model, self._model, node)

    def relative(self, file: str | Path) -> Path:
        """``file`` as seen from the model's directory, where it lies in it."""
        path = Path(file)
        return path.relative_to(self.path) if path.is_relative_to(self.path) else path


def _node(rendered: Rendered) -> Node:
    return Node(
        name=rendered.name,
        source=rendered.file,
        environment=rendered.environment,
        classes=rendered.classes,
        applications=rendered.applications,
        parameters=rendered.parameters,
        exports=rendered.exports,
    )


def _own(rendered: Rendered) -> Node:
    try:
        parameters, exports = copy_plain(rendered.parameters), copy_plain(rendered.exports)
    except TooMany:
        raise ModelError(
            f"node {rendered.name} holds too many values", node=rendered.name, file=rendered.file
        ) from None
    return replace(_node(rendered), parameters=parameters, exports=exports)


def _inside(settings: Settings) -> Settings:
    """The settings with folders as the trees name them. Raises when they lead out of the model."""
    folders = {}
    for name in ("nodes_uri", "classes_uri"):
        uri = getattr(settings, name)
        folder = posixpath.normpath(uri)
        if folder.startswith(("/", "..")) or folder == ".":
            raise ModelError(f"{name} leads out of the model: {uri}", file=CONFIG)
        folders[name] = folder
    nodes, classes = folders.values()
    if f"{nodes}/".startswith(f"{classes}/") or f"{classes}/".startswith(f"{nodes}/"):
        raise ModelError(f"nodes_uri and classes_uri overlap: {nodes}, {classes}", file=CONFIG)
    return replace(settings, **folders)
