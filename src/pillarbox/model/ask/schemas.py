"""The JSON schemas of formulas, for what stands under ``<service>:<role>`` in a node's parameters."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from referencing.exceptions import Unresolvable

from pillarbox.model.errors import ModelError
from pillarbox.model.read import yaml11
from pillarbox.model.read.tree import Tree

FOLDER = "formulas"


class Schemas:
    """The schemas of one tree: ``formulas/<service>/schemas/<role>.yml``; empty where there are none."""

    def __init__(self, tree: Tree) -> None:
        self._validators: dict[tuple[str, str], Any] = {}
        try:
            files = tree.files(FOLDER)
        except ModelError:
            return
        for file in files:
            parts = file.split("/")
            if len(parts) == 4 and parts[2] == "schemas":
                schema = yaml11.load(tree.read(file), file)
                self._validators[parts[1], parts[3].rpartition(".")[0]] = _validator(schema, file)

    def __bool__(self) -> bool:
        return bool(self._validators)

    def check(self, parameters: dict[str, Any]) -> Iterator[tuple[tuple[str, ...], str]]:
        """Path and reason of every value that a schema refuses."""
        for (service, role), validator in self._validators.items():
            roles = parameters.get(service)
            if isinstance(roles, dict) and role in roles:
                try:
                    for error in validator.iter_errors(roles[role]):
                        yield (service, role, *map(str, error.absolute_path)), str(error.message)[:300]
                except (Unresolvable, RecursionError, OverflowError) as error:
                    yield (service, role), f"the schema cannot be applied: {type(error).__name__}: {error}"[:300]


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
