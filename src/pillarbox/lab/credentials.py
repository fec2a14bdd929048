"""The files with which clients on this machine reach what the lab runs: named by the model, opened on its master."""

from __future__ import annotations

import json

from docker.models.containers import Container

from pillarbox.lab import shell
from pillarbox.lab.settings import LabSettings
from pillarbox.system import files


def fetch(settings: LabSettings, master: Container) -> tuple[str, ...]:
    """Bring the credentials files of the model that is served here, readable for root alone; returns their names.

    Those that the model names no longer go.
    """
    # The key that opens secrets never leaves the master.
    done = shell.run(master, ["pillarbox", "credentials", "-"], environment={"LC_ALL": "C.UTF-8"}, what="credentials")
    found: dict[str, str] = json.loads(done.out)
    directory = settings.credentials
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    for old in directory.iterdir():
        if old.name not in found:
            old.unlink()
    for name, text in found.items():
        files.write(directory / name, text, mode=0o600)
    return tuple(found)
