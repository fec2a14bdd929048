"""Where a lab keeps its things, and what it is made from."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import pillarbox
from pillarbox.lab.errors import LabError
from pillarbox.system import environment

DEFAULT_NAME = environment.LAB_NAME.default
ENGINES = ("auto", "private", "system")


@dataclass(frozen=True)
class LabSettings:
    """One lab: its name, its directories and the model it starts from.

    ``root`` is the state directory of all labs of the machine, ``cache`` what may be thrown away at any time,
    ``checkout`` the source tree that the hosts' software is built from, ``source`` the directory of the model.
    """

    name: str
    root: Path
    cache: Path
    checkout: Path
    source: Path
    engine: str

    @property
    def state(self) -> Path:
        """What belongs to this lab alone."""
        return self.root / "labs" / self.name

    @property
    def machine(self) -> Path:
        """What was recorded of the machine before the first lab changed anything."""
        return self.root / "machine"

    @property
    def engine_dir(self) -> Path:
        """The private engine's directories, socket and logs."""
        return self.root / "engine"

    @property
    def model(self) -> Path:
        """The lab's own copy of the model: a git work tree with this lab's secrets."""
        return self.state / "model"

    @property
    def ssh(self) -> Path:
        return self.state / "ssh"

    @property
    def credentials(self) -> Path:
        """The files with which clients on this machine reach what the lab runs."""
        return self.state / "credentials"

    @property
    def label(self) -> str:
        """The label that marks everything in the engine that belongs to this lab."""
        return f"pillarbox.lab={self.name}"


def load(name: str | None = None, source: Path | None = None) -> LabSettings:
    """The settings from arguments and environment: ``PILLARBOX_LAB_DIR``, ``_CACHE`` and ``_ENGINE``.

    Raises :class:`LabError` for a name no container can have, an unknown engine, and an installation that is not a
    checkout (the lab builds its hosts from the source tree).
    """
    name = name or DEFAULT_NAME
    if not re.fullmatch(r"[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?", name):
        raise LabError(f"lab name {name!r}: expected up to 32 lower case letters, digits and inner dashes")
    engine = environment.LAB_ENGINE.get() or "auto"
    if engine not in ENGINES:
        raise LabError(f"{environment.LAB_ENGINE.name}={engine}: expected one of {', '.join(ENGINES)}")
    checkout = Path(pillarbox.__file__).resolve().parents[2]
    if not (checkout / "ci" / "host").is_dir():
        raise LabError(
            f"{checkout} is not a checkout of Pillarbox", hint="Run `make lab` in a clone of Pillarbox's repository."
        )
    root = environment.LAB_DIR.directory().resolve()
    cache = environment.LAB_CACHE.directory().resolve()
    return LabSettings(name, root, cache, checkout, (source or checkout).resolve(), engine)
