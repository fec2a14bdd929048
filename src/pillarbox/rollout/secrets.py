"""Opening the model's PGP blocks at the last moment, in memory, and keeping what was inside out of every text."""

from __future__ import annotations

import base64
import re
import subprocess
import threading
from collections.abc import Iterable
from pathlib import Path
from typing import Any
from urllib.parse import quote

from pillarbox.model import pgp
from pillarbox.rollout.errors import RolloutError
from pillarbox.rollout.objects import Object

#: Where Salt's own gpg renderer looks on a master.
DEFAULT_HOME = Path("/etc/salt/gpgkeys")

_BLOCK = re.compile(r"-----BEGIN PGP MESSAGE-----.*?-----END PGP MESSAGE-----", re.DOTALL)


class Keyring:
    """The private keys in ``home``, as Salt's gpg renderer uses them.

    Clear text passes through pipes only. Raises :class:`RolloutError` when a block cannot be opened.
    """

    def __init__(self, home: str | Path = DEFAULT_HOME) -> None:
        self.home = Path(home)
        self._lock = threading.Lock()
        self._opened: dict[str, str] = {}

    def open(self, text: str) -> str:
        """``text`` with every PGP block in it replaced by what it says.

        Newlines at the end go, as they do in Salt's renderer: hosts and pods must read the same secret.
        """
        opened, count = _BLOCK.subn(lambda block: self._decrypt(block.group(0)), text)
        return opened.rstrip("\n") if count else text

    def _decrypt(self, block: str) -> str:
        with self._lock:
            if block not in self._opened:
                self._opened[block] = self._gpg(block)
            return self._opened[block]

    def _gpg(self, block: str) -> str:
        if not self.home.is_dir():
            raise RolloutError(
                f"the model holds encrypted secrets, and there is no key ring at {self.home}",
                hint="Deploy where the private key is: on the Salt master, or name the directory with --gpg-home.",
            )
        command = ["gpg", "--homedir", str(self.home), "--batch", "--quiet", "--no-tty", "--decrypt"]
        try:
            # Salt's own blocks are often indented by YAML; gpg wants the armor lines at the margin.
            armor = "\n".join(line.strip() for line in block.splitlines())
            done = subprocess.run(command, input=armor.encode(), capture_output=True, check=False)
        except FileNotFoundError:
            raise RolloutError("gpg is not installed; the model's secrets cannot be opened") from None
        if done.returncode != 0:
            reason = done.stderr.decode("utf-8", "replace").strip().splitlines()
            raise RolloutError(f"gpg cannot open a secret: {reason[-1] if reason else 'no reason given'}")
        return done.stdout.decode("utf-8", "surrogateescape")


def reveal(secret: Object, keyring: Keyring) -> Object:
    """A Secret manifest with its values in clear, under ``data`` as the API stores them."""
    data = dict(secret.get("data") or {})
    for name, value in data.items():
        if pgp.is_block(value):
            data[name] = _encode(keyring.open(value))
    for name, value in (secret.get("stringData") or {}).items():
        data[name] = _encode(keyring.open(value) if pgp.is_block(value) else value)
    kept = {key: value for key, value in secret.items() if key not in ("data", "stringData")}
    return {**kept, "data": data}


def blocks(value: Any) -> bool:
    """Whether a PGP block is anywhere in ``value``."""
    if isinstance(value, dict):
        return any(map(blocks, value.values()))
    if isinstance(value, list):
        return any(map(blocks, value))
    return pgp.is_block(value)


class Scrubber:
    """Takes secret values out of texts that people will read: logs of containers, messages of the API server."""

    def __init__(self, revealed: Iterable[Object] = ()) -> None:
        values: set[str] = set()
        for secret in revealed:
            for encoded in (secret.get("data") or {}).values():
                clear = base64.b64decode(encoded).decode("utf-8", "replace")
                # A file's worth of secrets (a key, a config) leaks line by line.
                for part in {clear.strip(), *(line.strip() for line in clear.splitlines())}:
                    values |= {part, quote(part, safe=""), encoded}
        # Very short values are words of ordinary text; blotting them out would hide the text, not the secret.
        self._values = sorted((value for value in values if len(value) >= 5), key=len, reverse=True)

    def __call__(self, text: str) -> str:
        for value in self._values:
            text = text.replace(value, "***")
        return text


def _encode(value: str) -> str:
    return base64.b64encode(value.encode("utf-8", "surrogateescape")).decode()
