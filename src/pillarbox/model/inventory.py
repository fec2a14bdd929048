"""The inventory: nodes of a reclass model, rendered when asked for.

This is the narrow interface that the rest of Pillarbox knows; ``reclass`` (kapicorp-reclass) stands behind it.
"""

from __future__ import annotations

import copy
import re
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from reclass import get_storage  # type: ignore[import-untyped]
from reclass.core import Core  # type: ignore[import-untyped]
from reclass.errors import (  # type: ignore[import-untyped]
    ClassNotFound,
    DuplicateNodeNameError,
    InterpolationError,
    NodeNotFound,
    ReclassException,
    ResolveError,
    ResolveErrorList,
)
from reclass.settings import Settings  # type: ignore[import-untyped]

from pillarbox.errors import PillarboxError, raise_all
from pillarbox.model.errors import ModelError

CONFIG = "reclass-config.yml"


@dataclass(frozen=True)
class Node:
    """One rendered node: what reclass calls nodeinfo, as plain data that belongs to the caller."""

    name: str
    file: Path
    environment: str
    classes: tuple[str, ...]
    applications: tuple[str, ...]
    parameters: Mapping[str, Any] = field(hash=False)
    exports: Mapping[str, Any] = field(hash=False)

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
    """The model under ``path``, a directory that holds ``nodes/`` and ``classes/``.

    ``reclass-config.yml`` in that directory is honoured. Nodes are rendered on first use and kept; the object may be
    used from several threads.

    Raises :class:`ModelError` when the directory is no model, and from ``node`` when that node does not render.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path).resolve()
        self._lock = threading.RLock()
        self._rendered: dict[str, Node] = {}
        options = self._options()
        nodes = self._directory(options.pop("nodes_uri", "nodes"), "nodes")
        classes = self._directory(options.pop("classes_uri", "classes"), "classes")
        self._classes_dir = classes
        mappings = options.pop("class_mappings", None)
        try:
            storage = get_storage("yaml_fs", str(nodes), str(classes), bool(options.get("compose_node_name", False)))
        except DuplicateNodeNameError as error:
            raise ModelError(f"node {error._name} is defined twice", file=self.relative(error._uris[1])) from error
        self._files = {name: nodes / relative for name, relative in storage._real_storage._nodes.items()}
        self._class_names = tuple(storage._real_storage._classes)
        self._core = Core(storage, mappings, Settings(options))
        self.nodes: tuple[str, ...] = tuple(sorted(self._files))

    def node(self, name: str) -> Node:
        """Render one node. Raises :class:`ModelError` for an unknown node and for one that does not render."""
        with self._lock:
            if name not in self._rendered:
                self._rendered[name] = self._render(name)
            return copy.deepcopy(self._rendered[name])

    def all(self) -> tuple[Node, ...]:
        """Every node, sorted by name. Raises what is wrong with all of them together."""
        nodes, errors = [], []
        for name in self.nodes:
            try:
                nodes.append(self.node(name))
            except PillarboxError as error:
                errors.append(error)
        raise_all(errors)
        return tuple(nodes)

    def relative(self, file: str | Path) -> Path:
        """``file`` as seen from the model's directory, where it lies in it."""
        path = Path(str(file).removeprefix("yaml_fs://"))
        return path.relative_to(self.path) if path.is_relative_to(self.path) else path

    def _options(self) -> dict[str, Any]:
        file = self.path / CONFIG
        if not file.is_file():
            return {}
        options = _load(file, Path(CONFIG))
        if not isinstance(options, dict):
            raise ModelError("expected a mapping of reclass options", file=CONFIG, line=1)
        return options

    def _directory(self, uri: str, name: str) -> Path:
        path = (self.path / uri).resolve()
        if not path.is_relative_to(self.path):
            raise ModelError(f"{name}_uri leads out of the model: {uri}", file=CONFIG)
        if not path.is_dir():
            raise ModelError(
                f"no {uri}/ in {self.path}",
                hint="A model has nodes/ and classes/; name its directory with --model.",
            )
        return path

    def _render(self, name: str) -> Node:
        try:
            info = self._core.nodeinfo(name)
        except NodeNotFound as error:
            raise ModelError(f"no node {name}", node=name, hint=_nearest(name, self.nodes)) from error
        except yaml.YAMLError as error:
            raise self._yaml_error(name, error) from error
        except ReclassException as error:
            raise_all(self._explain(name, error))
            raise
        except UnicodeDecodeError as error:
            raise ModelError(f"a file of node {name} is not UTF-8: {error.reason}", node=name) from error
        except RecursionError as error:
            raise ModelError(f"node {name}: classes or references form a cycle", node=name) from error
        except (AttributeError, TypeError, ValueError, KeyError) as error:
            # reclass trusts the shape of its files; what it trips over is the model's, not the caller's.
            raise ModelError(f"node {name} does not render: {error}", node=name) from error
        return Node(
            name=name,
            file=self.relative(self._files[name]),
            environment=info["environment"],
            classes=tuple(info["classes"]),
            applications=tuple(info["applications"]),
            parameters=info["parameters"],
            exports=info["exports"],
        )

    def _yaml_error(self, name: str, error: yaml.YAMLError) -> ModelError:
        mark = getattr(error, "problem_mark", None)
        problem = getattr(error, "problem", None) or str(error)
        if mark is None:
            return ModelError(f"YAML does not parse: {problem}", node=name)
        return ModelError(
            f"YAML does not parse: {problem}", node=name, file=self.relative(mark.name), line=mark.line + 1
        )

    def _explain(self, name: str, error: ReclassException) -> list[PillarboxError]:
        if isinstance(error, ResolveErrorList):
            return [found for each in error.resolve_errors for found in self._explain(name, each)]
        file = getattr(error, "uri", None)
        if isinstance(error, ClassNotFound):
            text = f"class {error.name} does not exist, asked for by node {name}"
            return [self._located(text, name, file, error.name, _nearest(error.name, self._class_names))]
        if isinstance(error, ResolveError):
            reference = "${" + str(error.reference) + "}"
            text = f"reference {reference} in parameter {error.context} of node {name} does not resolve"
            return [self._located(text, name, file, str(error.reference), None)]
        if isinstance(error, InterpolationError):
            text = " ".join(str(line).strip() for line in error._get_error_message())
            return [self._located(f"node {name}: {text}", name, file, None, None)]
        return [ModelError(f"node {name}: {error.message}", node=name)]

    def _located(self, text: str, node: str, uri: str | None, needle: str | None, hint: str | None) -> ModelError:
        if not uri:
            return ModelError(text, node=node, hint=hint)
        path = Path(re.sub(r"^yaml_fs://", "", str(uri)))
        return ModelError(text, node=node, file=self.relative(path), line=_line_of(path, needle), hint=hint)


def _load(file: Path, shown: Path) -> Any:
    try:
        return yaml.safe_load(file.read_text(encoding="utf-8"))
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else None
        raise ModelError(f"YAML does not parse: {error.problem}", file=shown, line=line) from error


def _line_of(path: Path, needle: str | None) -> int | None:
    if needle is None or not path.is_file():
        return None
    for number, line in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), start=1):
        if needle in line:
            return number
    return None


def _nearest(name: str, known: tuple[str, ...]) -> str | None:
    from difflib import get_close_matches

    match = get_close_matches(name, known, n=1)
    return f"Did you mean {match[0]}?" if match else None
