"""Kubernetes Secrets with their values in clear, at the last moment, in memory."""

from __future__ import annotations

import base64
from collections.abc import Iterator

from pillarbox.rollout.objects import Object
from pillarbox.secrets import Keyring
from pillarbox.system import gpg


def reveal(secret: Object, keyring: Keyring) -> Object:
    """A Secret manifest with its PGP blocks opened, under ``data`` as the API stores them."""
    data = dict(secret.get("data") or {})
    for name, value in data.items():
        if gpg.is_block(value):
            data[name] = _encode(keyring.open(value))
    for name, value in (secret.get("stringData") or {}).items():
        data[name] = _encode(keyring.open(value) if gpg.is_block(value) else value)
    kept = {key: value for key, value in secret.items() if key not in ("data", "stringData")}
    return {**kept, "data": data}


def values(revealed: Object) -> Iterator[bytes]:
    """The values of a Secret as the API stores it."""
    return (base64.b64decode(value) for value in (revealed.get("data") or {}).values())


def _encode(value: str) -> str:
    return base64.b64encode(value.encode("utf-8", "surrogateescape")).decode()
