"""The environment variables that Pillarbox reads: all of them, each with one meaning.

``docs/environment.md`` shows this table. It stands on the floor because every room reads its own line of it.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from pillarbox.system.errors import PillarboxError

#: What a variable says that names a directory, where that may be none.
OFF = "off"


class VariableError(PillarboxError):
    """An environment variable says what it cannot mean."""


@dataclass(frozen=True)
class Variable:
    """One variable: its name, what it says, and what counts where it is not set (or empty)."""

    name: str
    meaning: str
    default: str

    def get(self) -> str | None:
        """What it says; nothing where it is not set, or empty."""
        return os.environ.get(self.name) or None

    def path(self) -> Path | None:
        """The directory that it names; nothing where it is not set, or empty.

        Raises :class:`VariableError` for a path that is not absolute: it would mean another directory to a command that
        is started elsewhere.
        """
        given = self.get()
        if given is None:
            return None
        if not os.path.isabs(given):
            raise VariableError(
                f"{self.name}={given}: expected an absolute path",
                hint="Name the whole path of a directory, or unset it.",
            )
        return Path(given)

    def directory(self) -> Path:
        """The directory that it names, or the default. Raises :class:`VariableError` as :meth:`path` does."""
        return self.path() or Path(self.default)

    def is_off(self) -> bool:
        """Whether it says that there is to be none."""
        return self.get() == OFF

    def set_default(self, value: str) -> None:
        """Let it say ``value``, here and in programs that are started from here, unless it says something."""
        if self.get() is None:
            os.environ[self.name] = value


MODEL = Variable(
    "PILLARBOX_MODEL",
    "the directory of the model, as `--model`",
    "the current directory; on a master, the model that it serves",
)
CACHE = Variable(
    "PILLARBOX_CACHE",
    "the directory where rendered nodes are cached; `off` for no cache",
    "`pillarbox` in `$XDG_CACHE_HOME` or `~/.cache`",
)
BUILD_CACHE = Variable("PILLARBOX_BUILD_CACHE", "the directory of a builder's caches and locks", "/var/cache/pillarbox")
LAB_NAME = Variable("PILLARBOX_LAB_NAME", "the lab that `pillarbox lab` works on, as `--name`", "pillarbox-lab")
LAB_DIR = Variable("PILLARBOX_LAB_DIR", "where labs keep their files", "/var/lib/pillarbox-lab")
LAB_CACHE = Variable("PILLARBOX_LAB_CACHE", "what was downloaded and compiled for labs", "/var/cache/pillarbox-lab")
LAB_ENGINE = Variable(
    "PILLARBOX_LAB_ENGINE",
    "the container engine of labs: `auto`, `system` or `private`",
    "`auto`: the machine's, where one answers",
)
ROOT = Variable(
    "PILLARBOX_ROOT", "on a master: the repository, published revisions, progress, notes of pushes", "/srv/pillarbox"
)
STATE = Variable("PILLARBOX_STATE", "on a master: run records, locks", "/var/lib/pillarbox")
REPOSITORY = Variable(
    "PILLARBOX_REPOSITORY", "on a master: the bare model repository", "`model.git` in `PILLARBOX_ROOT`"
)
BRANCH = Variable("PILLARBOX_BRANCH", "on a master: the branch that is deployed", "main")
USER = Variable(
    "PILLARBOX_USER",
    "in the repository's hooks: who is pushing, set by a key that is listed with a name; after it `GL_USERNAME`, "
    "`GL_USER` and `REMOTE_USER` count",
    "who committed",
)

VARIABLES = (
    MODEL,
    CACHE,
    BUILD_CACHE,
    LAB_NAME,
    LAB_DIR,
    LAB_CACHE,
    LAB_ENGINE,
    ROOT,
    STATE,
    REPOSITORY,
    BRANCH,
    USER,
)
