"""Running git on a repository that somebody else may write to."""

from __future__ import annotations

import os
from pathlib import Path


def command(path: Path) -> list[str]:
    """The beginning of a git command about the repository at ``path``."""
    # The repository belongs to the git user, and the master's user reads it: that is meant.
    return ["git", "-c", f"safe.directory={path}", "-c", "safe.directory=*", "-C", str(path)]


def environment() -> dict[str, str]:
    """The environment for git: a configuration that the caller's environment injects must not make it run programs."""
    return {
        **{key: value for key, value in os.environ.items() if not key.startswith("GIT_CONFIG")},
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_NO_LAZY_FETCH": "1",
        "LC_ALL": "C.UTF-8",
    }
