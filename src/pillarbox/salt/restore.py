"""Bringing back data by the states of hosts, which fetch it from the master."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pillarbox.pipeline.hosts import HostOutcome
from pillarbox.salt.hosts import apply
from pillarbox.system import files
from pillarbox.system.progress import Progress

STATES = "state.apply"
_FOLDER = "restore"


class Restore:
    """A :class:`pillarbox.pipeline.restore.RestoreHosts` of the master's minions.

    They find in the pillar ``pillarbox:restore`` where to fetch the data (``source``), its ``sha256``, and an ``id``
    that no other restore has. It is among the files that every minion may read for as long as the states take.
    """

    def __init__(self, opts: Mapping[str, Any], served: Path) -> None:
        self.opts = opts
        self.served = served

    def __call__(
        self, hosts: Sequence[str], states: Sequence[str], content: Iterable[bytes], name: str, *, progress: Progress
    ) -> dict[str, HostOutcome]:
        """Apply the states. Raises :class:`PipelineError` when the master does not answer, and ``OSError``."""
        token = secrets.token_hex(8)
        folder = self.served / _FOLDER
        folder.mkdir(exist_ok=True, mode=0o700)
        file, digest = folder / token, hashlib.sha256()
        try:
            with files.replacing(file, mode=0o600) as stream:
                for chunk in content:
                    digest.update(chunk)
                    stream.write(chunk)
            given = {"source": f"salt://{_FOLDER}/{token}", "sha256": digest.hexdigest(), "id": token}
            named = {"pillar": {"pillarbox": {"restore": given}}}
            return apply(self.opts, hosts, STATES, [",".join(states)], named=named, progress=progress)
        finally:
            file.unlink(missing_ok=True)
