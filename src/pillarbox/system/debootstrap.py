"""A minimal Debian in a directory."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

from pillarbox.system import apt
from pillarbox.system.command import CommandError, run, tail


def bootstrap(
    root: Path,
    source: apt.Source,
    packages: Iterable[str],
    *,
    log: Path | None = None,
    on_line: Callable[[str], None] | None = None,
    timeout: float | None = None,
) -> None:
    """Install the release that ``source`` names, as little of it as there is, and ``packages`` below ``root``.

    Needs root, and the key that the release is signed with. Each line of debootstrap goes to ``on_line`` and to the
    file ``log``. Raises :class:`~pillarbox.system.command.CommandError` with the last lines of both when it fails, or
    is not done within ``timeout`` seconds.
    """
    (release,) = source.suites
    command: list[str | Path] = [
        # In name spaces of its own that end with this process, so that nothing stays mounted whatever happens.
        *("setpriv", "--pdeathsig", "KILL", "unshare", "--mount", "--pid", "--fork", "--kill-child"),
        *("debootstrap", "--variant=minbase", "--force-check-gpg", f"--components={','.join(source.components)}"),
        *(f"--include={','.join(packages)}", release, root, source.uri),
    ]
    # debootstrap fetches with wget, which knows proxies from the environment only.
    environment = {**apt.fetching(), "TMPDIR": str(root.parent)}
    try:
        run(command, env=environment, log=log, on_line=on_line, timeout=timeout)
    except CommandError as error:
        own = root / "debootstrap" / "debootstrap.log"
        more = tail(own.read_text(encoding="utf-8", errors="replace"), 10) if own.is_file() else ""
        text = "\n".join(each for each in (error.message, more) if each)
        raise CommandError(f"debootstrap of {release} from {source.uri}: {text}", hint=error.hint) from error
