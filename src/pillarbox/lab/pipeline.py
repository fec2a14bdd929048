"""What the master's pipeline did and has to do, asked for with its own commands and read from its records."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from docker.models.containers import Container

from pillarbox.lab import shell
from pillarbox.lab.errors import LabError

_RUNS = "/var/lib/pillarbox/runs"
_CURRENT = "/srv/pillarbox/published/current"


def served(master: Container) -> str | None:
    """The revision that the master serves."""
    found = shell.run(master, ["readlink", _CURRENT], check=False)
    return found.out.strip() or None


def runs(master: Container, kind: str) -> list[dict[str, Any]]:
    """The records of builds or deploys, newest first."""
    script = 'cd "$1" && for run in $(ls -r | grep -e "-$2-"); do cat "$run/run.json" && printf "\\0"; done'
    found = shell.run(master, ["sh", "-c", script, "sh", _RUNS, kind], check=False).out
    records = []
    for text in found.split("\0"):
        try:
            records.append(json.loads(text))
        except ValueError:
            continue
    return records


def newest(master: Container, kind: str, revision: str | None = None) -> str | None:
    """The revision (if it is ``revision``) that was built or deployed last, and came to its end."""
    found = (
        str(run.get("revision"))
        for run in runs(master, kind)
        if run.get("state") == "succeeded" and revision in (None, run.get("revision")) and not run.get("dry_run")
    )
    return next(found, None)


def build(master: Container, say: Callable[[str], None]) -> None:
    """Build what was pushed, also when an earlier build of it failed. Raises :class:`LabError` when it fails."""
    _runner(master, ["pillarbox.build", "again=True"], "the build of the pushed model", say)


def deploy(master: Container, say: Callable[[str], None]) -> None:
    """Deploy the revision that was built last, as an administrator does it. Raises :class:`LabError` when it fails."""
    _runner(master, ["state.orchestrate", "orch.deploy"], "orch.deploy", say)


def _runner(master: Container, arguments: list[str], what: str, say: Callable[[str], None]) -> None:
    lines: list[str] = []

    def tell(line: str) -> None:
        lines.append(line)
        if line.strip():
            say(line.rstrip())

    # Progress and the report come on standard error; what the runner returns says the same again.
    command = ["salt-run", "--out=json", "--log-level=error", *arguments]
    result = shell.run(master, command, on_err=tell, environment={"LC_ALL": "C.UTF-8"}, check=False)
    if result.code != 0:
        rest = "" if lines else f":\n{result.out.strip()[-3000:]}"
        raise LabError(
            f"{what} failed with exit code {result.code}{rest}",
            hint="`pillarbox lab exec <master> -- pillarbox report` shows the run; `make lab` tries again.",
        )
