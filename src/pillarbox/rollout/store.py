"""The last manifests that were applied and seen healthy: what a failed wave goes back to."""

from __future__ import annotations

import json
from pathlib import Path

from pillarbox.rollout.objects import Object, ObjectRef
from pillarbox.system import files


class GoodStore:
    """Healthy manifests under ``directory``, a file each; secrets are in them as the model has them, encrypted.

    Losing the directory loses nothing that cannot be had: the API server still tells what was applied last.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def get(self, wanted: ObjectRef) -> Object | None:
        """The manifest that was healthy, or ``None`` if none is known (or its file is damaged)."""
        try:
            found: Object = json.loads(self._file(wanted).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        return found

    def put(self, wanted: ObjectRef, manifest: Object) -> None:
        """Keep ``manifest`` as the one to go back to."""
        self.directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        files.write_json(self._file(wanted), manifest, mode=0o600)

    def drop(self, unwanted: ObjectRef) -> None:
        """Forget an object that is gone."""
        self._file(unwanted).unlink(missing_ok=True)

    def _file(self, wanted: ObjectRef) -> Path:
        # Kubernetes names have no comma, and never start with a dot. Several groups may have a kind of one name.
        kind = wanted.kind if wanted.type.apis else f"{wanted.kind}.{wanted.group}"
        return self.directory / ",".join((kind, wanted.namespace, wanted.name.replace("/", ","), "json"))
