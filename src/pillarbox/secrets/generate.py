"""A deployment's own secrets: generated, encrypted to its master's key, and kept as PGP blocks in the model.

The file ``classes/cluster/<name>/secrets.yml`` carries the blocks under ``parameters: _param`` and says beside them,
under ``parameters: _secret``, what each is: ``<name>: {kind: password}``. Kinds are the keys of :data:`KINDS`.
"""

from __future__ import annotations

import base64
import secrets
import string
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pillarbox.model.read import yaml11
from pillarbox.secrets.errors import SecretsError
from pillarbox.system import files, gpg
from pillarbox.system.yaml_text import dump

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
    files = sorted((model / "classes" / "cluster").glob("*/secrets.yml"))
    with tempfile.TemporaryDirectory(prefix="pillarbox-gpg-") as scratch:
        home = Path(scratch)
        recipient = gpg.import_key(home, public_key)
        # All before any is written: half of a deployment's secrets is none.
        filled = {file: _fill(_read(model, file), home, recipient) for file in files}
    for file, document in filled.items():
        _write(file, document)
    return tuple(files)


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


def _fill(document: dict[str, Any], home: Path, recipient: str) -> dict[str, Any]:
    parameters = document.get("parameters") or {}
    values = dict(parameters.get("_param") or {})
    for name, options in (parameters.get("_secret") or {}).items():
        kind = (options or {}).get("kind", "password")
        values[name] = gpg.encrypt(home, recipient, KINDS[kind]())
    return {**document, "parameters": {**parameters, "_param": values}}


def _write(file: Path, document: dict[str, Any]) -> None:
    header = (
        "# Written by pillarbox: this deployment's secrets, for the Salt master that holds the key.\n"
    )
    files.write(file, header + dump(document))
