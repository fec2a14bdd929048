"""OpenPGP by the machine's ``gpg``: blocks in data, and encrypting and decrypting them.

Clear text passes through pipes only, never through a file or an argument.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

from pillarbox.system.errors import PillarboxError

BEGIN = "-----BEGIN PGP MESSAGE-----"
END = "-----END PGP MESSAGE-----"
_BLOCK = re.compile(rf"{BEGIN}.*?{END}", re.DOTALL)


class GpgError(PillarboxError):
    """gpg is missing, or cannot do what it was asked: a key that is none, a block that no key opens."""


def is_block(value: Any) -> bool:
    """Whether ``value`` is text that holds an encrypted PGP message (the form of Salt's gpg renderer)."""
    return isinstance(value, str) and BEGIN in value


def blocks(data: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], str]]:
    """Every text in ``data`` that holds a PGP block, with the keys and list indices that lead to it."""
    if is_block(data):
        yield path, data
    elif isinstance(data, dict):
        for key, value in data.items():
            yield from blocks(value, (*path, str(key)))
    elif isinstance(data, list):
        for index, value in enumerate(data):
            yield from blocks(value, (*path, str(index)))


def replace(text: str, opened: Callable[[str], str]) -> str:
    """``text`` with every block in it replaced by what ``opened`` makes of it.

    Newlines at the end of a text that held a block go, as they do in Salt's gpg renderer.
    """
    found, count = _BLOCK.subn(lambda block: opened(block.group(0)), text)
    return found.rstrip("\n") if count else text


def import_key(home: Path, public_key: str) -> str:
    """Import an armored public key into the GnuPG directory ``home``; returns its fingerprint.

    Raises :class:`GpgError` where the text holds no key, and where it holds several: which one is meant?
    """
    _gpg(home, ["--import"], public_key.encode())
    listing = _gpg(home, ["--list-keys", "--with-colons"], b"").decode("utf-8", "replace")
    records = [line.split(":") for line in listing.splitlines()]
    keys = [after[9] for record, after in pairwise(records) if record[0] == "pub" and after[0] == "fpr"]
    if not keys:
        raise GpgError("the public key holds no OpenPGP key")
    if len(keys) > 1:
        hint = "Export one, by its fingerprint: gpg --armor --export FINGERPRINT"
        raise GpgError(f"expected one public key, found {len(keys)}: {', '.join(keys)}", hint=hint)
    return keys[0]


def encrypt(home: Path, recipient: str, text: str) -> str:
    """``text`` as an armored block for the key ``recipient`` of ``home``. Raises :class:`GpgError`."""
    arguments = ["--trust-model", "always", "--encrypt", "--armor", "--recipient", recipient]
    return _gpg(home, arguments, text.encode("utf-8", "surrogateescape")).decode()


def decrypt(home: Path, block: str) -> str:
    """What ``block`` says, opened with a private key of ``home``. Raises :class:`GpgError` where none opens it."""
    # Blocks are often indented by YAML; gpg wants the armor lines at the margin.
    armor = "\n".join(line.strip() for line in block.splitlines())
    return _gpg(home, ["--decrypt"], armor.encode()).decode("utf-8", "surrogateescape")


def _gpg(home: Path, arguments: list[str], stdin: bytes) -> bytes:
    command = ["gpg", "--homedir", str(home), "--batch", "--quiet", "--no-tty", *arguments]
    try:
        done = subprocess.run(command, input=stdin, capture_output=True, env={**os.environ, "LC_ALL": "C"})
    except FileNotFoundError:
        raise GpgError("gpg is not installed", hint="apt install gpg") from None
    if done.returncode != 0:
        reason = done.stderr.decode("utf-8", "replace").strip()
        action = next(word for word in arguments if word in ("--import", "--list-keys", "--encrypt", "--decrypt"))
        raise GpgError(f"gpg {action} failed: {reason or 'no reason given'}")
    return done.stdout
