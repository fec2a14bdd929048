"""A deployment's own secrets: generated, encrypted to its master's key, and kept as PGP blocks in the model.

The file ``classes/cluster/<name>/secrets.yml`` carries the blocks under ``parameters: _param`` and says beside them,
under ``parameters: _secret``, what each is: ``<name>: {kind: password}``. Kinds are the keys of :data:`KINDS`. With
``then: <other>`` a secret that is rotated leaves its old value to another: what has to be valid for a while longer.
"""

from __future__ import annotations

import base64
import re
import secrets
import string
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from graphlib import CycleError, TopologicalSorter
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
    with _alone(file):
        _add(model, file, public_key, names, kind)
    return file


def rotate(model: Path, public_key: str, names: Sequence[str], cluster: str | None = None) -> Path:
    """Give the secrets called ``names`` of a deployment new values, and leave the others as they are.

    A value that was there goes on to the secret that ``then`` names, and that one's to the next. ``cluster`` says which
    deployment is meant where the model has several. Returns the file written. Raises :class:`SecretsError` for a name
    that the file does not ask for and for one that takes another's old value, else what :func:`generate` raises.
    """
    file = _file(model, cluster)
    with _alone(file):
        document = _read(model, file)
        parameters = dict(document.get("parameters") or {})
        values, asked = dict(parameters.get("_param") or {}), parameters.get("_secret") or {}
        before = {options["then"]: name for name, options in asked.items() if options and "then" in options}
        for name in names:
            if name not in asked:
                raise SecretsError(
                    f"there is no secret {name}", file=file.relative_to(model), hint=f"Secrets: {', '.join(asked)}."
                )
            if name in before:
                hint = f"Rotate {before[name]}."
                raise SecretsError(f"{name} takes what {before[name]} had", file=file.relative_to(model), hint=hint)
            value, later = values.get(name), (asked[name] or {}).get("then")
            while later:
                values[later], value = value, values.get(later)
                later = (asked[later] or {}).get("then")
        _fill(file, {**document, "parameters": {**parameters, "_param": values}}, public_key, names)
    return file


@contextmanager
def _alone(file: Path) -> Iterator[None]:
    """Nobody else changes the file meanwhile."""
    lock = file.with_name(".secrets.lock")
    if lock.is_symlink():
        raise SecretsError("the lock is a link, and would be written through it", file=lock, hint="Remove it.")
    with locks.held(lock):
        try:
            yield
        finally:
            lock.unlink(missing_ok=True)


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
    _fill(file, {**document, "parameters": parameters}, public_key, names)


def _fill(file: Path, document: dict[str, Any], public_key: str, names: Sequence[str]) -> None:
    """Write the document with new values for the secrets called ``names``."""
    with tempfile.TemporaryDirectory(prefix="pillarbox-gpg-") as scratch:
        home = Path(scratch)
        filled = _filled(document, home, gpg.import_key(home, public_key), names)
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
    _refuse_outside(model, found[cluster])
    return found[cluster]


def _read(model: Path, file: Path) -> dict[str, Any]:
    shown = file.relative_to(model)
    _refuse_outside(model, file)
    try:
        document = yaml11.load(file.read_bytes(), str(shown))
    except OSError as error:
        raise SecretsError(f"cannot read the file: {error.strerror}", file=shown) from None
    _mapping(document, "the file", shown)
    parameters = _mapping(document.get("parameters"), "parameters", shown)
    _mapping(parameters.get("_param"), "parameters:_param", shown)
    asked = _mapping(parameters.get("_secret"), "parameters:_secret", shown)
    moves: dict[str, tuple[str]] = {}
    for name, given in asked.items():
        options = _mapping(given, f"_secret {name}", shown)
        kind, then = options.get("kind", "password"), options.get("then")
        if not isinstance(kind, str) or kind not in KINDS:
            raise SecretsError(f"_secret {name} has kind {kind}; expected one of {', '.join(KINDS)}", file=shown)
        if then is not None:
            if not isinstance(then, str) or then not in asked:
                raise SecretsError(f"_secret {name} leaves its value to {then}, which is no secret", file=shown)
            if then in moves:
                both = f"{moves[then][0]} and {name}"
                raise SecretsError(f"_secret {both} leave their values to one secret, {then}", file=shown)
            moves[then] = (name,)
    try:
        TopologicalSorter(moves).prepare()
    except CycleError as error:
        raise SecretsError(f"values move in a circle: {' -> '.join(error.args[1])}", file=shown) from None
    return dict(document)


def _refuse_outside(model: Path, file: Path) -> None:
    if not file.resolve().is_relative_to(model.resolve()):
        raise SecretsError("the file lies outside the model, by a link", file=file.relative_to(model))


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
