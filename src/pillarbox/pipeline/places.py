"""Where a master keeps what."""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pillarbox.system import environment

ROOT = Path(environment.ROOT.default)
STATE = Path(environment.STATE.default)


@dataclass(frozen=True)
class Places:
    """The directories of one deployment's master.

    ``root`` holds what others read (the repository, the published model, progress for pushers), ``state`` what is the
    master's own (runs, locks). ``branch`` is the one that is deployed.
    """

    root: Path = ROOT
    state: Path = STATE
    repository: Path = ROOT / "model.git"
    branch: str = "main"

    @classmethod
    def of(cls, options: Mapping[str, Any] | None = None) -> Places:
        """From master options (``pillarbox: {root, state, repository, branch}``) or the environment
        (``PILLARBOX_ROOT`` and so on), else the defaults.

        Raises :class:`VariableError` for a directory in the environment that is not absolute.
        """
        given = options or {}
        root = Path(given.get("root") or environment.ROOT.directory())
        state = Path(given.get("state") or environment.STATE.directory())
        repository = Path(given.get("repository") or environment.REPOSITORY.path() or root / "model.git")
        branch = given.get("branch") or environment.BRANCH.get() or environment.BRANCH.default
        # Under its full name no push would be one to it, and none be checked.
        return cls(root, state, repository, str(branch).removeprefix("refs/heads/"))

    @property
    def published(self) -> Path:
        """Revisions that were published, a directory each, and the link ``current``."""
        return self.root / "published"

    @property
    def current(self) -> Path:
        """The link that the master reads the model through."""
        return self.published / "current"

    @property
    def deployed(self) -> Path:
        """The revisions that hosts may be at, a line each, for the hooks."""
        return self.root / "deployed"

    @property
    def spool(self) -> Path:
        """Where hooks leave notes of pushes."""
        return self.root / "spool"

    @property
    def progress(self) -> Path:
        """A file a revision: what pushers may read of a build."""
        return self.root / "progress"

    @property
    def staging(self) -> Path:
        """What builders fetch: formulas and image files of a revision, never the model."""
        return self.root / "staging"

    @property
    def runs(self) -> Path:
        """A directory a run."""
        return self.state / "runs"

    @property
    def good(self) -> Path:
        """Manifests that were seen healthy."""
        return self.state / "good"

    @property
    def backups(self) -> Path:
        """A directory a backup."""
        return self.state / "backups"

    @property
    def pki(self) -> Path:
        """What was issued to hosts."""
        return self.state / "pki"

    @property
    def lock(self) -> Path:
        """Held by the one run that is going on."""
        return self.state / "pipeline.lock"

    @property
    def ref(self) -> str:
        """The branch's full name."""
        return f"refs/heads/{self.branch}"

    def ensure(self) -> None:
        """Create what is missing, with the modes it needs. Needs the rights of the master's user."""
        for path, mode in (
            (self.state, 0o700),
            (self.runs, 0o700),
            (self.backups, 0o700),
            (self.published, 0o700),
            (self.staging, 0o700),
            (self.progress, 0o755),
            (self.spool, 0o730),
        ):
            if not path.is_dir():
                path.mkdir(parents=True, exist_ok=True)
                path.chmod(mode)
        self._open_spool()

    def _open_spool(self) -> None:
        # The hooks run as the repository's owner, who may leave notes here and do nothing else.
        try:
            group = self.repository.stat().st_gid
        except OSError:
            return
        spool = self.spool.stat()
        if os.geteuid() == 0 and (spool.st_gid != group or stat.S_IMODE(spool.st_mode) != 0o730):
            os.chown(self.spool, 0, group)
            self.spool.chmod(0o730)
