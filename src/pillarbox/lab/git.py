"""The machine's git, for the lab's own copy of the model."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from pillarbox.system.command import run

_IDENTITY = {
    "GIT_AUTHOR_NAME": "Pillarbox lab",
    "GIT_AUTHOR_EMAIL": "lab@localhost",
    "GIT_COMMITTER_NAME": "Pillarbox lab",
    "GIT_COMMITTER_EMAIL": "lab@localhost",
}
# The user's own git configuration (hooks, signing, templates) has no say in the lab's copy.
_QUIET = {"GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_SYSTEM": "/dev/null", "GIT_TERMINAL_PROMPT": "0"}


def git(
    directory: Path,
    *arguments: str,
    ssh_config: Path | None = None,
    on_line: Callable[[str], None] | None = None,
    check: bool = True,
) -> str:
    """Run git in ``directory``; remote hosts are reached with ``ssh_config`` alone. Raises :class:`LabError`."""
    environment = {**_IDENTITY, **_QUIET}
    if ssh_config is not None:
        environment["GIT_SSH_COMMAND"] = f"ssh -F '{ssh_config}'"
    return run(["git", "-C", directory, *arguments], env=environment, on_line=on_line, check=check)


def head(directory: Path) -> str | None:
    """The commit that is checked out, or nothing in a repository without one."""
    if not (directory / ".git").is_dir():
        return None
    found = git(directory, "rev-parse", "--verify", "--quiet", "HEAD", check=False).strip()
    return found or None


def listed(directory: Path, *paths: str) -> list[Path]:
    """The files under ``paths`` that git knows or would add: tracked, or new and not ignored.

    Files that are tracked and deleted are left out; outside a work tree there are none.
    """
    arguments = ("ls-files", "-z", "--cached", "--others", "--exclude-standard", "--", *paths)
    output = git(directory, *arguments, check=False)
    if output.startswith("fatal:"):
        return []
    files = [directory / name for name in sorted(set(output.split("\0"))) if name]
    return [file for file in files if file.is_file() or file.is_symlink()]
