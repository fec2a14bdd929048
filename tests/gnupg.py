"""GnuPG homes for tests: one unprotected key each, as a Salt master has; home and agent are gone afterwards."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def keyring(user: str = "test") -> Iterator[Path]:
    """A home with a key for ``user`` that can encrypt."""
    # Not pytest's directory: the path of the agent's socket must be short.
    home = Path(tempfile.mkdtemp(prefix="gpg-"))
    try:
        _gpg(home, "--pinentry-mode", "loopback", "--passphrase", "", "--quick-generate-key", user, "future-default")
        yield home
    finally:
        subprocess.run(["gpgconf", "--homedir", home, "--kill", "all"], check=False)
        # The agent removes its sockets at the same time.
        shutil.rmtree(home, ignore_errors=True)


def armored(home: Path) -> str:
    """The home's public key."""
    return _gpg(home, "--armor", "--export")


def _gpg(home: Path, *arguments: str) -> str:
    command = ["gpg", "--homedir", str(home), "--batch", "--quiet", *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout
