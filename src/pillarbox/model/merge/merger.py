"""From the name of a node to its merged layers."""

from __future__ import annotations

import threading
from typing import Any

from pillarbox.model.errors import ModelError
from pillarbox.model.keep.sources import Sources
from pillarbox.model.merge.entity import ClassUse, Compiler, Entity
from pillarbox.model.merge.layering import Choice, Layering, Merged
from pillarbox.model.merge.render import Queries, Renderer
from pillarbox.model.merge.report import Reporter
from pillarbox.model.merge.template import parse
from pillarbox.model.read import yaml11
from pillarbox.model.read.mappings import parse_mappings
from pillarbox.model.read.settings import Settings
from pillarbox.system.errors import raise_all
from pillarbox.system.names import did_you_mean


class Merger:
    """Merges the nodes of one tree. A class's file is read once, when a node first needs it.

    Safe to use from several threads.
    """

    def __init__(self, sources: Sources, settings: Settings) -> None:
        self.sources = sources
        self.settings = settings
        self.compiler = Compiler(settings)
        self.reporter = Reporter(sources, settings)
        self._mappings = parse_mappings(settings.class_mappings)
        self._layering = Layering(settings, self.compiler.syntax, self.class_entity)
        self._lock = threading.RLock()
        self._classes: dict[str, Entity] = {}

    def class_entity(self, name: str) -> Entity | None:
        """The class's file, or ``None`` when there is none. Raises when it cannot be read."""
        entity = self._classes.get(name)
        if entity is None:
            file = self.sources.class_files.get(name)
            if file is None:
                return None
            entity = self._classes[name] = self._load(file, name)
        return entity

    def node_entity(self, name: str) -> Entity:
        """The node's file. Raises when it cannot be read."""
        file = self.sources.node_files.get(name)
        if file is None:
            raise ModelError(f"no node {name}", node=name, hint=did_you_mean(name, self.sources.nodes))
        return self._load(file, name)

    def merged(self, name: str) -> Merged:
        """One node's layers, merged. Raises all that is wrong with its files and classes."""
        entity = self.node_entity(name)
        environment = entity.environment if entity.environment is not None else self.settings.default_environment
        automatic = _automatic(name, environment)
        mapped = self._mapped(name, entity)
        with self._lock:
            state, errors = self._layering.merged(entity, mapped, automatic)
        found = [*entity.errors, *errors]
        if found:
            raise_all([self.reporter.error(name, error) for error in found])
        return Merged(name, entity, environment, automatic, mapped, state)

    def choices(self, merged: Merged) -> dict[str, Choice]:
        """The classes of a node that references in their names chose, by name."""
        with self._lock:
            return self._layering.choices(merged)

    def renderer(self, merged: Merged, queries: Queries | None = None) -> Renderer:
        """A renderer for one node's values."""
        return Renderer(merged.state.parameters, merged.automatic, self.settings, self.compiler.syntax, queries)

    def _mapped(self, name: str, entity: Entity) -> tuple[ClassUse, ...]:
        """The classes that the configuration gives the node by its name."""
        path = entity.file[len(self.settings.nodes_uri) + 1 :].rpartition(".")[0]
        if "/" not in path and not self.settings.compose_node_name:
            # As reclass writes it.
            path = f"./{path}"
        matched = path if self.settings.class_mappings_match_path else name
        names = dict.fromkeys(each for mapping in self._mappings for each in mapping.match(matched))
        return tuple(map(self._use, names))

    def _load(self, file: str, name: str) -> Entity:
        data, digest = self.sources.read(file)
        parsed = yaml11.load(data, file)
        return self.compiler.entity(parsed, file, name, digest, aliased=b"*" in data)

    def _use(self, name: str) -> ClassUse:
        syntax = self.compiler.syntax
        return ClassUse(name, parse(name, syntax) if syntax.is_template(name) else None)


def _automatic(name: str, environment: Any) -> dict[str, Any]:
    parts = name.split(".")
    return {
        "name": {"full": name, "short": parts[-1], "path": "/".join(parts), "parts": parts},
        "environment": environment,
    }
