"""A deployment's own secrets: generated, encrypted to its master's key, and kept as PGP blocks in the model.

The file ``classes/cluster/<name>/secrets.yml`` carries the blocks under ``parameters: _param`` and says beside them,
under ``parameters: _secret``, what each is: ``<name>: {kind: password}``. Kinds are the keys of :data:`KINDS`.
"""

from __future__ import annotations

import base64
import re
import secrets
import string
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from pillarbox.model.read import yaml11
from pillarbox.secrets.errors import SecretsError
from pillarbox.system import files, gpg, locks
from pillarbox.system.yaml_text import dump

FOLDER = "classes/cluster"

#: What a reference, ``${_param:NAME}``, may name.
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")
_ALPHABET = string.ascii_letters + string.digits

KINDS: dict[str, Callable[[], str]] = {
    # 32 letters and digits hold 190 bits, and read aloud or pasted they survive any terminal.
    "password": lambda: "".join(secrets.choice(_ALPHABET) for _ in range(32)),
    # Fernet wants 32 bytes in URL-safe base64 (OpenStack Keystone's key repositories).
    "fernet": lambda: base64.urlsafe_b64encode(secrets.token_bytes(32)).decode(),
    # Kubernetes' EncryptionConfiguration wants 32 bytes in plain base64.
    "aes": lambda: base64.b64encode(secrets.token_bytes(32)).decode(),
    # Erlang cookies are atoms: upper case letters only keep them free of quoting.
    "cookie": lambda: "".join(secrets.choice(string.ascii_uppercase) for _ in range(32)),
    "token": lambda: secrets.token_hex(32),
}


def generate(model: Path, public_key: str) -> tuple[Path, ...]:
    """Fill every ``classes/cluster/*/secrets.yml`` of ``model`` with new secrets for the holder of ``public_key``.

    ``public_key`` is an armored OpenPGP public key. Returns the files written. The clear text exists only in this
    process and in gpg's standard input. Raises :class:`SecretsError` for what is wrong in a file, and
    :class:`~pillarbox.system.gpg.GpgError` for a key that gpg refuses.
    """
    found = sorted((model / FOLDER).glob("*/secrets.yml"))
    with tempfile.TemporaryDirectory(prefix="pillarbox-gpg-") as scratch:
        home = Path(scratch)
        recipient = gpg.import_key(home, public_key)
        # All before any is written: half of a deployment's secrets is none.
        filled = {file: _filled(_read(model, file), home, recipient) for file in found}
    for file, document in filled.items():
        _write(file, document)
    return tuple(found)


def add(model: Path, public_key: str, names: Sequence[str], kind: str = "password", cluster: str | None = None) -> Path:
    """Add new secrets called ``names`` to the deployment's ``secrets.yml`` and leave the others as they are.

    A name that the file asks for already and that has no value keeps the kind that stands there. ``cluster`` says which
    deployment is meant where the model has several. Returns the file written. Raises :class:`SecretsError` for a name
    that has a value and for a deployment that is not there, else what :func:`generate` raises.
    """
    file = _file(model, cluster)
    for name in names:
        if not _NAME.fullmatch(name):
            raise SecretsError(f"{name!r} cannot be the name of a secret", hint="Take letters, digits and underscores.")
    lock = file.with_name(".secrets.lock")
    with locks.held(lock):
        try:
            _add(model, file, public_key, names, kind)
        finally:
            lock.unlink(missing_ok=True)
    return file


def _add(model: Path, file: Path, public_key: str, names: Sequence[str], kind: str) -> None:
    document = _read(model, file)
    parameters = dict(document.get("parameters") or {})
    present = parameters.get("_param") or {}
    for name in names:
        if name in present:
            hint = "Take another name; running services use this one."
            raise SecretsError(f"there is a secret {name} already", file=file.relative_to(model), hint=hint)
    asked = parameters.get("_secret") or {}
    parameters["_secret"] = asked | {name: asked.get(name) or {"kind": kind} for name in names}
    with tempfile.TemporaryDirectory(prefix="pillarbox-gpg-") as scratch:
        home = Path(scratch)
        recipient = gpg.import_key(home, public_key)
        filled = _filled({**document, "parameters": parameters}, home, recipient, names)
    _write(file, filled)


def _file(model: Path, cluster: str | None) -> Path:
    found = {file.parent.name: file for file in sorted((model / FOLDER).glob("*/secrets.yml"))}
    if cluster is None and len(found) == 1:
        return next(iter(found.values()))
    if cluster not in found:
        known = ", ".join(found) or "none"
        what = "no deployment was named" if cluster is None else f"there is no deployment {cluster} with secrets"
        raise SecretsError(
            f"{what}; with a secrets.yml: {known}", hint=f"A deployment's file is {FOLDER}/NAME/secrets.yml."
        )
    return found[cluster]


def _read(model: Path, file: Path) -> dict[str, Any]:
    shown = file.relative_to(model)
    if not file.resolve().is_relative_to(model.resolve()):
        raise SecretsError("the file lies outside the model, by a link", file=shown)
    try:
        document = yaml11.load(file.read_bytes(), str(shown))
    except OSError as error:
        raise SecretsError(f"cannot read the file: {error.strerror}", file=shown) from None
    _mapping(document, "the file", shown)
    parameters = _mapping(document.get("parameters"), "parameters", shown)
    _mapping(parameters.get("_param"), "parameters:_param", shown)
    for name, options in _mapping(parameters.get("_secret"), "parameters:_secret", shown).items():
        kind = _mapping(options, f"_secret {name}", shown).get("kind", "password")
        if not isinstance(kind, str) or kind not in KINDS:
            raise SecretsError(f"_secret {name} has kind {kind}; expected one of {', '.join(KINDS)}", file=shown)
    return dict(document)


def _mapping(value: Any, what: str, shown: Path) -> dict[str, Any]:
    if value is None and what != "the file":
        return {}
    if not isinstance(value, dict):
        raise SecretsError(f"expected {what} to be a mapping, found {type(value).__name__}", file=shown)
    return value


def _filled(document: dict[str, Any], home: Path, recipient: str, names: Sequence[str] | None = None) -> dict[str, Any]:
    """The document with new values for the secrets called ``names``, by default for all that it asks for."""
    parameters = document.get("parameters") or {}
    values = dict(parameters.get("_param") or {})
    asked = parameters.get("_secret") or {}
    for name in asked if names is None else names:
        kind = (asked[name] or {}).get("kind", "password")
        values[name] = gpg.encrypt(home, recipient, KINDS[kind]())
    return {**document, "parameters": {**parameters, "_param": values}}


def _write(file: Path, document: dict[str, Any]) -> None:
    header = "# Written by pillarbox: this deployment's secrets, for the Salt master that holds the key.\n"
    files.write(file, header + dump(document))
