"""The JSON schemas of formulas, for what stands under ``<service>:<role>`` in a node's parameters."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

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
        unknown = dict(self.unknown(parameters))
        yield from unknown.items()
        above = {path[:-1] for path in unknown}
        for service, files in self._files.items():
            for role, file in files.items():
                validator, roles = self._validator(file), parameters.get(service)
                if not isinstance(roles, dict) or role not in roles:
                    continue
                for path, keyword, message in _refused(validator, roles[role], (service, role)):
                    if keyword != "additionalProperties" or path not in above:
                        yield path, message

    def _schema(self, file: str) -> Any:
        if file not in self._loaded:
            self._loaded[file] = yaml11.load(self._tree.read(file), file)
        return self._loaded[file]

    def _validator(self, file: str) -> Any:
        if file not in self._validators:
            self._validators[file] = _validator(self._schema(file), file)
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


def _refused(validator: Any, value: Any, place: Path) -> Iterator[tuple[Path, str, str]]:
    """Path, keyword and message of everything in ``value`` that a validator refuses."""
    from referencing.exceptions import Unresolvable

    try:
        for error in validator.iter_errors(value):
            yield (*place, *map(str, error.absolute_path)), str(error.validator), str(error.message)[:300]
    except (Unresolvable, RecursionError, OverflowError) as error:
        yield place, "", f"the schema cannot be applied: {type(error).__name__}: {error}"[:300]


def _validator(schema: Any, file: str) -> Any:
    try:
        from jsonschema import Draft202012Validator  # type: ignore[import-untyped]
        from jsonschema.exceptions import SchemaError  # type: ignore[import-untyped]
    except ImportError:
        raise ModelError("cannot check schemas without the Python package jsonschema", hint="Install it.") from None
    try:
        Draft202012Validator.check_schema(schema)
    except SchemaError as error:
        raise ModelError(f"not a JSON schema: {error.message}", file=file) from None
    return Draft202012Validator(schema)
