"""The files with which clients reach what a deployment runs: named by the model, secrets opened.

A node's ``pillarbox:credentials`` names them, and what is in each::

    pillarbox:
      credentials:
        client.env:
          format: env
          data:
            CLIENT_URL: http://service.example
            CLIENT_PASSWORD: ${_param:client_password}
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Mapping
from typing import Any

from pillarbox.model import Inventory, Node
from pillarbox.secrets.errors import SecretsError
from pillarbox.secrets.keyring import Keyring
from pillarbox.system.yaml_text import dump

PILLAR = "pillarbox:credentials"
_FILE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def credentials(inventory: Inventory, keyring: Keyring) -> dict[str, str]:
    """The text of every credentials file of the model, by its name.

    Raises :class:`SecretsError` for a section that says none, for two nodes that say one file differently, and where
    there is no key for its secrets.
    """
    found: dict[str, tuple[str, str]] = {}
    for node in inventory.all():
        for name, entry in _section(node).items():
            try:
                text = _text(str(name), entry, keyring)
            except ValueError as error:
                raise SecretsError(f"node {node.name}: {PILLAR}:{name}: {error}", file=node.file) from None
            other, before = found.setdefault(str(name), (node.name, text))
            if before != text:
                raise SecretsError(f"nodes {other} and {node.name} say different things of {PILLAR}:{name}")
    return {name: text for name, (_, text) in found.items()}


def _section(node: Node) -> Mapping[Any, Any]:
    section = node.parameters
    for key in PILLAR.split(":"):
        section = section.get(key) or {}
        if not isinstance(section, Mapping):
            text = f"node {node.name}: expected {PILLAR} to be a mapping, found a {type(section).__name__}"
            raise SecretsError(text, file=node.file)
    return section


def _text(name: str, entry: Any, keyring: Keyring) -> str:
    if not _FILE.fullmatch(name):
        raise ValueError("expected the name of a file, without a directory")
    if not isinstance(entry, Mapping) or not isinstance(entry.get("data"), Mapping):
        raise ValueError("expected {format: ..., data: {...}}")
    if entry.get("format") not in tuple(FORMATS):
        raise ValueError(f"format is {entry.get('format')}; expected one of {', '.join(FORMATS)}")
    return FORMATS[entry["format"]](_opened(entry["data"], keyring))


def _opened(data: Any, keyring: Keyring) -> Any:
    if isinstance(data, str):
        return keyring.open(data)
    if isinstance(data, Mapping):
        return {str(key): _opened(value, keyring) for key, value in data.items()}
    if isinstance(data, list):
        return [_opened(value, keyring) for value in data]
    return data


def _env(data: dict[str, Any]) -> str:
    """Variables for a shell to read with ``.``."""
    for name, value in data.items():
        if not _VARIABLE.fullmatch(name):
            raise ValueError(f"{name!r} cannot be the name of a variable")
        if isinstance(value, (dict, list)):
            raise ValueError(f"{name} is a {type(value).__name__}; expected text")
    return "".join(f"export {name}={shlex.quote(str(value))}\n" for name, value in data.items())


FORMATS: dict[str, Callable[[dict[str, Any]], str]] = {"yaml": dump, "env": _env}
