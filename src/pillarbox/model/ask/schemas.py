"""The JSON schemas of formulas, for what stands under ``<service>:<role>`` in a node's parameters."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from pillarbox.model.ask import keywords
from pillarbox.model.errors import ModelError
from pillarbox.model.read import yaml11
from pillarbox.model.read.tree import Tree
from pillarbox.system.names import did_you_mean

FOLDER = "formulas"
#: How like a role that has a schema another one's name has to be to be taken for a mistake: it may need none.
_ROLE = 0.8
#: How many references of a schema are followed, one to the next.
_HOPS = 8

Path = tuple[str, ...]


class Schemas:
    """The schemas of one tree: ``formulas/<service>/schemas/<role>.yml``; empty where there are none."""

    def __init__(self, tree: Tree) -> None:
        self._tree = tree
        self._files: dict[str, dict[str, str]] = {}
        self._loaded: dict[str, Any] = {}
        self._validators: dict[str, Any] = {}
        self._every: frozenset[str] | None = None
        self._found: dict[tuple[str, str], tuple[tuple[Path, str, str], ...]] = {}
        try:
            files = tree.files(FOLDER)
        except ModelError:
            return
        for file in files:
            parts = file.split("/")
            if len(parts) == 4 and parts[2] == "schemas":
                self._files.setdefault(parts[1], {})[parts[3].rpartition(".")[0]] = file

    def __bool__(self) -> bool:
        return bool(self._files)

    def unknown(self, parameters: Mapping[str, Any]) -> Iterator[tuple[Path, str]]:
        """Path and reason of every key that its schema does not know; quick enough for every push.

        Raises :class:`ModelError` for a schema that is no YAML.
        """
        for service, files in self._files.items():
            roles = parameters.get(service)
            for role, value in roles.items() if isinstance(roles, dict) else ():
                if role in files:
                    schema = self._schema(files[role])
                    yield from _unknown(schema, schema, value, (service, role))
                elif near := did_you_mean(str(role), files, cutoff=_ROLE):
                    yield (service, str(role)), f"the formula has no role of this name. {near}"

    def check(self, parameters: Mapping[str, Any]) -> Iterator[tuple[Path, str]]:
        """Path and reason of everything that a schema refuses. Raises :class:`ModelError` for what is no schema."""
        yield from self.unknown(parameters)
        yield from self.refused(parameters)

    def refused(self, parameters: Mapping[str, Any]) -> Iterator[tuple[Path, str]]:
        """The same without the keys that its schema does not know. Raises :class:`ModelError` for what is no schema."""
        above: set[Path] | None = None
        for service, files in self._files.items():
            for role, file in files.items():
                roles = parameters.get(service)
                if not isinstance(roles, dict) or role not in roles:
                    continue
                for path, keyword, message in self._of_role(file, roles[role]):
                    if keyword == "additionalProperties":
                        above = {each[:-1] for each, _ in self.unknown(parameters)} if above is None else above
                        if (service, role, *path) in above:
                            continue
                    yield (service, role, *path), message

    def _of_role(self, file: str, value: Any) -> tuple[tuple[Path, str, str], ...]:
        """What one schema refuses in a value: looked at once for all nodes that have the same."""
        key = (file, json.dumps(value, sort_keys=True, default=repr, ensure_ascii=False))
        if key not in self._found:
            self._found[key] = tuple(_refused(self._validator(file), value))
        return self._found[key]

    def _has(self, file: str) -> bool:
        """Whether the tree has a file of a formula."""
        if self._every is None:
            self._every = frozenset(self._tree.files(FOLDER))
        return file in self._every

    def _schema(self, file: str) -> Any:
        if file not in self._loaded:
            self._loaded[file] = yaml11.load(self._tree.read(file), file)
        return self._loaded[file]

    def _validator(self, file: str) -> Any:
        if file not in self._validators:
            self._validators[file] = _validator(self._schema(file), file, self._has)
        return self._validators[file]


def _unknown(root: Any, schema: Any, value: Any, path: Path) -> Iterator[tuple[Path, str]]:
    """The keys below ``path`` that the schema rules out by ``additionalProperties: false``."""
    schema = _resolved(root, schema)
    if isinstance(value, list):
        for index, item in enumerate(value):
            yield from _unknown(root, schema.get("items"), item, (*path, str(index)))
    if not isinstance(value, dict) or "patternProperties" in schema:
        return
    known, others = schema.get("properties"), schema.get("additionalProperties")
    known = known if isinstance(known, dict) else {}
    for key, item in value.items():
        below = (*path, str(key))
        if key in known:
            yield from _unknown(root, known[key], item, below)
        elif others is False:
            known_keys = f"Known keys: {', '.join(map(str, known))}."
            yield below, f"no such key. {did_you_mean(str(key), known) or known_keys}"
        else:
            yield from _unknown(root, others, item, below)


def _resolved(root: Any, schema: Any) -> Mapping[str, Any]:
    """The schema itself, where a reference to ``$defs`` stands for it; an empty one for all that is no mapping."""
    for _ in range(_HOPS):
        if not isinstance(schema, dict):
            return {}
        reference = schema.get("$ref")
        if not isinstance(reference, str):
            return schema
        definitions = root.get("$defs")
        schema = definitions.get(reference.removeprefix("#/$defs/")) if isinstance(definitions, dict) else None
    return {}


def _refused(validator: Any, value: Any) -> Iterator[tuple[Path, str, str]]:
    """Path, keyword and message of everything in ``value`` that a validator refuses."""
    from referencing.exceptions import Unresolvable

    try:
        for error in validator.iter_errors(value):
            # A reason in words of our own says it all; a pattern, say, does not.
            own = str(error.validator).startswith("x-")
            meaning = None if own or not isinstance(error.schema, dict) else error.schema.get("description")
            text = str(error.message)
            if isinstance(error.schema, dict) and error.schema.get("writeOnly"):
                # A secret must not be repeated in an error.
                text = text.replace(repr(error.instance), "it")
            message = text[:300] + (f": {meaning}" if meaning else "")
            yield tuple(map(str, error.absolute_path)), str(error.validator), message
    except (Unresolvable, RecursionError, OverflowError) as error:
        yield (), "", f"the schema cannot be applied: {type(error).__name__}: {error}"[:300]


def _validator(schema: Any, file: str, has: Callable[[str], bool]) -> Any:
    try:
        from jsonschema import (  # type: ignore[import-untyped]
            Draft202012Validator,
            FormatChecker,
            ValidationError,
            validators,
        )
        from jsonschema.exceptions import SchemaError  # type: ignore[import-untyped]
    except ImportError:
        raise ModelError("cannot check schemas without the Python package jsonschema", hint="Install it.") from None
    try:
        Draft202012Validator.check_schema(schema)
    except SchemaError as error:
        raise ModelError(f"not a JSON schema: {error.message}", file=file) from None

    def keyword(judge: keywords.Judge) -> Callable[..., Iterator[Any]]:
        def judged(_: Any, wanted: Any, value: Any, around: Any) -> Iterator[Any]:
            for path, text in judge(wanted, value, around):
                yield ValidationError(text, path=path)

        return judged

    known = {name: keyword(judge) for name, judge in keywords.every(has).items()}
    extended = validators.extend(Draft202012Validator, known)
    formats = FormatChecker(Draft202012Validator.FORMAT_CHECKER.checkers)
    formats.checks("ipv4-network", ValueError)(keywords.is_ipv4_network)
    return extended(schema, format_checker=formats)
