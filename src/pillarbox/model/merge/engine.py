"""The engine behind :class:`~pillarbox.model.inventory.Inventory`: one tree of files, rendered node by node."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

from pillarbox.model.errors import ModelError
from pillarbox.model.keep.cache import Cache, digest, version
from pillarbox.model.keep.pages import Pages
from pillarbox.model.keep.stamps import Stamps
from pillarbox.model.merge.cells import LAZY, OPEN, Flagged, Layers, OpenDict, OpenList, Template
from pillarbox.model.merge.entity import ClassUse, Compiler, Entity
from pillarbox.model.merge.layering import Layering, MergeState
from pillarbox.model.merge.query import MISSING, Query, lookup
from pillarbox.model.merge.render import Problem, Renderer
from pillarbox.model.merge.report import Reporter
from pillarbox.model.read import yaml11
from pillarbox.model.read.mappings import parse_mappings
from pillarbox.model.read.marks import Lines
from pillarbox.model.read.settings import CONFIG, Settings
from pillarbox.model.read.tree import Tree, class_files, node_files
from pillarbox.system.errors import PillarboxError, raise_all


class Rendered(NamedTuple):
    """One node as the engine makes it. Its containers are shared with other nodes: copy before changing."""

    name: str
    file: str
    environment: str
    classes: tuple[str, ...]
    applications: tuple[str, ...]
    parameters: dict[str, Any]
    exports: dict[str, Any]
    warnings: tuple[str, ...]
    asked: bool = False
    """Whether inventory queries of this node were answered: then it depends on all nodes."""


@dataclass(frozen=True)
class Merged:
    """One node before rendering."""

    name: str
    entity: Entity
    environment: str
    automatic: dict[str, Any]
    state: MergeState

    @property
    def used(self) -> tuple[str, ...]:
        """The classes that the node is made of, and those that it asked for and that are not there."""
        return (*(step.name for step in self.state.steps if step.name is not None), *self.state.missing)


class Engine:
    """Reads and renders one tree, a snapshot: every file is read once, when a node first needs it.

    Raises :class:`ModelError` when the tree is no model. Safe to use from several threads.
    """

    def __init__(self, tree: Tree, settings: Settings | None = None, cache: Cache | None = None) -> None:
        self.tree = tree
        self.cache = cache
        self.stamps = Stamps(cache, tree) if cache is not None else None
        self.pages = Pages(self, cache) if cache is not None else None
        self.settings = settings or read_settings(tree)
        self.compiler = Compiler(self.settings)
        self.mappings = parse_mappings(self.settings.class_mappings)
        self.lines = Lines(tree)
        nodes, classes = self.settings.nodes_uri, self.settings.classes_uri
        self.node_files = node_files(tree.files(nodes), nodes, self.settings.compose_node_name)
        self.class_files = class_files(tree.files(classes), classes)
        self.nodes: tuple[str, ...] = tuple(sorted(self.node_files))
        self.layering = Layering(self.settings, self.compiler.syntax, self.class_entity)
        self.reporter = Reporter(self)
        self._lock = threading.RLock()
        self._classes: dict[str, Entity] = {}
        self._nodes: dict[str, Entity] = {}
        self._exports: dict[str, tuple[str, dict[str, Any]]] | None = None
        self._digests: dict[str, bytes] = {}
        self._settled = True
        self._sets: dict[tuple[str, ...], bytes] = {}
        self.key = digest(version(), self.settings.key().encode())
        """What decides a node beside its files."""

    def class_entity(self, name: str) -> Entity | None:
        """The class's file, or ``None`` when there is none. Raises when it cannot be read."""
        entity = self._classes.get(name)
        if entity is None:
            file = self.class_files.get(name)
            if file is None:
                return None
            entity = self._classes[name] = self._load(file, name)
        return entity

    def node_entity(self, name: str) -> Entity:
        """The node's file. Raises when it cannot be read."""
        entity = self._nodes.get(name)
        if entity is None:
            file = self.node_files.get(name)
            if file is None:
                raise ModelError(f"no node {name}", node=name, hint=nearest(name, self.nodes))
            entity = self._load(file, name)
        return entity

    def merged(self, name: str) -> Merged:
        """One node's layers, merged. Raises all that is wrong with its files and classes."""
        entity = self.node_entity(name)
        environment = entity.environment if entity.environment is not None else self.settings.default_environment
        automatic = _automatic(name, environment)
        path = entity.file[len(self.settings.nodes_uri) + 1 :].rpartition(".")[0]
        if "/" not in path and not self.settings.compose_node_name:
            # As reclass writes it.
            path = f"./{path}"
        matched = path if self.settings.class_mappings_match_path else name
        mapped = tuple(dict.fromkeys(each for mapping in self.mappings for each in mapping.match(matched)))
        with self._lock:
            state, errors = self.layering.merged(entity, tuple(map(self._use, mapped)), automatic)
        found = [*entity.errors, *errors]
        if found:
            raise_all([self.reporter.error(name, error) for error in found])
        return Merged(name, entity, environment, automatic, state)

    def render(self, name: str) -> Rendered:
        """Render one node. Raises all that is wrong with it together."""
        known = self.pages.get(name) if self.pages is not None else None
        return known or self._render(self.merged(name))

    def each(self, errors: list[PillarboxError]) -> Iterator[Rendered]:
        """Every node, sorted by name, one at a time; what is wrong with any is added to ``errors``."""
        pages = self.pages
        for name in self.nodes:
            try:
                rendered = pages.get(name) if pages is not None else None
                if rendered is None:
                    merged = self.merged(name)
                    rendered = self._render(merged)
                    # What other nodes export is not among a page's files.
                    if pages is not None and self._settled and not rendered.asked:
                        pages.add(merged, rendered)
            except PillarboxError as error:
                errors.append(error)
                continue
            yield rendered
        if pages is not None:
            pages.finish()
        self.flush()

    def fingerprint(self, name: str) -> bytes:
        """A digest of all files that the node is made from: nodes with the same one render the same.

        Raises like :meth:`merged`. For a node that asks the inventory, these are the files of every node.
        """
        merged = self.merged(name)
        renderer = Finder(merged.state.parameters, merged.state.exports)
        key = digest(self.settings.key().encode(), name.encode(), merged.entity.file.encode(), merged.entity.digest)
        own = digest(key, self.classes_digest(merged.used))
        if not renderer.asks:
            return own
        files = sorted([*self.node_files.items(), *self.class_files.items()])
        return digest(own, *(part for each, file in files for part in (each.encode(), self.digest(file))))

    def flush(self) -> None:
        """Write to the cache what is not written yet."""
        if self.cache is not None:
            if self.stamps is not None:
                self.stamps.save()
            self.cache.flush()

    def _render(self, merged: Merged) -> Rendered:
        answers = Answers(self, merged.environment)
        renderer = self.renderer(merged, answers)
        parameters = renderer.render(merged.state.parameters)
        exports = renderer.render(merged.state.exports)
        if renderer.problems:
            raise_all([self.reporter.problem(merged, problem) for problem in renderer.problems])
        return Rendered(
            name=merged.name,
            file=merged.entity.file,
            environment=merged.environment,
            classes=merged.state.classes,
            applications=merged.state.applications,
            parameters=parameters,
            exports=exports,
            warnings=tuple(str(self.reporter.problem(merged, problem)) for problem in renderer.warnings),
            asked=answers.asked,
        )

    def classes_digest(self, names: tuple[str, ...]) -> bytes:
        """One digest for the content of all these classes."""
        known = self._sets.get(names)
        if known is None:
            parts = []
            for name in names:
                file = self.class_files.get(name)
                # A class that is not there counts, too: it may be, another day.
                parts.append(b"" if file is None else self.digest(file))
            known = self._sets[names] = digest(*parts)
        return known

    def digest(self, file: str) -> bytes:
        """The digest of what ``file`` holds. Raises when it cannot be read."""
        known = self._digests.get(file)
        if known is None:
            known = self.stamps.get(file) if self.stamps is not None else None
            if known is None:
                known = self.content(file)[1]
            self._digests[file] = known
        return known

    def content(self, file: str) -> tuple[bytes, bytes]:
        """What ``file`` holds, and its digest. Raises when it cannot be read."""
        data = self.tree.read(file)
        result = hashlib.blake2b(data, digest_size=16).digest()
        if self.stamps is not None:
            self.stamps.put(file, result)
        return data, result

    def renderer(self, merged: Merged, queries: Answers | None = None) -> Renderer:
        """A renderer for one node's values."""
        return Renderer(merged.state.parameters, merged.automatic, self.settings, self.compiler.syntax, queries)

    def lenient(self, merged: Merged) -> Renderer:
        """A renderer that answers inventory queries, too; its ``problems`` are the caller's to look at."""
        return self.renderer(merged, Answers(self, merged.environment))

    def exports(self) -> dict[str, tuple[str, dict[str, Any]]]:
        """Environment and exports of every node, for inventory queries; what does not render is a :class:`Failed`."""
        with self._lock:
            if self._exports is None:
                found: dict[str, tuple[str, dict[str, Any]]] = {}
                errors: list[PillarboxError] = []
                for name in self.nodes:
                    try:
                        merged = self.merged(name)
                    except PillarboxError as error:
                        if not (self.settings.inventory_ignore_failed_node and _is_node_file(error, self, name)):
                            errors.append(error)
                        continue
                    renderer = self.renderer(merged)
                    data = _tolerant(renderer, merged.state.exports, name)
                    found[name] = (merged.environment, data)
                raise_all(errors)
                self._exports = found
            return self._exports

    def _load(self, file: str, name: str) -> Entity:
        data, digest_of_data = self.content(file)
        if self._digests.setdefault(file, digest_of_data) != digest_of_data:
            # Changed since it was last looked at: what is made of it must not be kept under the digest of then.
            self._settled = False
        parsed = yaml11.load(data, file)
        return self.compiler.entity(parsed, file, name, digest_of_data, aliased=b"*" in data)

    def _use(self, name: str) -> ClassUse:
        from pillarbox.model.merge.template import parse

        syntax = self.compiler.syntax
        return ClassUse(name, parse(name, syntax) if syntax.is_template(name) else None)


class Failed:
    """An export that does not render, and why."""

    def __init__(self, problem: Problem, node: str) -> None:
        self.problem = problem
        self.node = node


class Answers:
    """Answers the inventory queries of one node."""

    def __init__(self, engine: Engine, environment: str) -> None:
        self.engine = engine
        self.environment = environment
        self.asked = False

    def answer(self, query: Query, own: Callable[[tuple[str, ...]], Any]) -> Any:
        self.asked = True
        ignore = query.ignore_errors
        if ignore is None:
            ignore = self.engine.settings.inventory_ignore_failed_render
        values: dict[str, Any] = {}
        names: list[str] = []
        try:
            exports = self.engine.exports()
        except PillarboxError as error:
            raise Problem(f"the inventory query {query.text} cannot be answered: {error}") from error
        for node, (environment, data) in exports.items():
            if environment != self.environment and not query.all_environments:
                continue
            failure = next((found for path in query.paths() if (found := _failure(data, path))), None)
            if failure is not None:
                if ignore:
                    continue
                why = self.engine.reporter.problem(self.engine.merged(failure.node), failure.problem)
                raise Problem(
                    f"the inventory query {query.text} needs an export of node {failure.node} that does not render: "
                    f"{why.place}: {why.message}",
                    hint="+IgnoreErrors leaves such nodes out.",
                )
            if not query.accepts(data, own):
                continue
            if query.value is None:
                names.append(node)
            elif (value := lookup(data, query.value)) is not MISSING:
                values[node] = value
        return names if query.value is None else values


def _failure(data: Any, path: tuple[str, ...]) -> Failed | None:
    for part in path:
        if isinstance(data, Failed):
            return data
        data = lookup(data, (part,))
        if data is MISSING:
            return None
    return _inside(data)


def _inside(data: Any) -> Failed | None:
    if isinstance(data, Failed):
        return data
    children = data.values() if isinstance(data, dict) else data if isinstance(data, list) else ()
    return next((found for child in children if (found := _inside(child))), None)


def _tolerant(renderer: Renderer, section: dict[str, Any], node: str) -> dict[str, Any]:
    """Exports as plain data, each problem left at its place."""
    def plain(value: Any, depth: int) -> Any:
        if depth > 200:
            return Failed(Problem("values and references nest too deep"), node)
        if type(value) in LAZY:
            try:
                return plain(renderer.value(value), depth + 1)
            except Problem as problem:
                return Failed(problem, node)
        if type(value) is OpenDict:
            return {key: plain(child, depth + 1) for key, child in value.items()}
        if type(value) is OpenList:
            return [plain(child, depth + 1) for child in value]
        return value

    return {key: plain(value, 0) for key, value in section.items()}


class Finder:
    """Looks for inventory queries in merged layers."""

    def __init__(self, *cells: Any) -> None:
        self._seen: set[int] = set()
        self.asks = any(map(self._find, cells))

    def _find(self, cell: Any) -> bool:
        kind_of = type(cell)
        if kind_of not in OPEN or id(cell) in self._seen:
            return False
        self._seen.add(id(cell))
        if kind_of is Template:
            return any(isinstance(part, Query) for part in cell.parts)
        if kind_of is OpenDict:
            return any(map(self._find, cell.values()))
        if kind_of is OpenList:
            return any(map(self._find, cell))
        if kind_of is Layers:
            return any(map(self._find, cell.cells))
        return kind_of is Flagged and self._find(cell.cell)


def _is_node_file(error: PillarboxError, engine: Engine, name: str) -> bool:
    return error.file == engine.node_files[name]


def _automatic(name: str, environment: Any) -> dict[str, Any]:
    parts = name.split(".")
    return {
        "name": {"full": name, "short": parts[-1], "path": "/".join(parts), "parts": parts},
        "environment": environment,
    }


def read_settings(tree: Tree) -> Settings:
    """The settings of ``reclass-config.yml`` at the root of ``tree``, or the defaults."""
    if not tree.exists(CONFIG):
        return Settings()
    options = yaml11.load(tree.read(CONFIG), CONFIG)
    if options is None:
        return Settings()
    if not isinstance(options, dict):
        raise ModelError("expected a mapping of reclass options", file=CONFIG, line=1)
    return Settings.from_options(options)


def nearest(name: str, known: tuple[str, ...] | list[str]) -> str | None:
    """A hint with the known name most like ``name``."""
    from difflib import get_close_matches

    match = get_close_matches(name, known, n=1)
    return f"Did you mean {match[0]}?" if match else None
