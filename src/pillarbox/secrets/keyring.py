"""Opening the model's PGP blocks at the last moment, in memory."""

from __future__ import annotations

import threading
from pathlib import Path

from pillarbox.secrets.errors import SecretsError
from pillarbox.system import gpg

#: Where Salt's own gpg renderer looks on a master.
DEFAULT_HOME = Path("/etc/salt/gpgkeys")


class Keyring:
    """The private keys in ``home``, as Salt's gpg renderer uses them. Safe to use from several threads."""

    def __init__(self, home: str | Path = DEFAULT_HOME) -> None:
        self.home = Path(home)
        self._lock = threading.Lock()
        self._opened: dict[str, str] = {}

    def open(self, text: str) -> str:
        """``text`` with every PGP block in it replaced by what it says.

        Newlines at the end go, as they do in Salt's renderer: hosts and pods must read the same secret. Raises
        :class:`SecretsError` where there are no keys, and :class:`~pillarbox.system.gpg.GpgError` where none fits.
        """
        return gpg.replace(text, self.decrypt)

    def decrypt(self, block: str) -> str:
        """What one block says, byte for byte. Raises what :meth:`open` does."""
        with self._lock:
            if block not in self._opened:
                if not self.home.is_dir():
                    raise SecretsError(
                        f"the model holds encrypted secrets, and there is no key ring at {self.home}",
                        hint="Run this where the private key is: on the Salt master, or name the directory with "
                        "--gpg-home.",
                    )
                self._opened[block] = gpg.decrypt(self.home, block)
            return self._opened[block]
