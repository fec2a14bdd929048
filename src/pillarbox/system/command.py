"""Running the machine's own programs."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from pillarbox.system.errors import PillarboxError
from pillarbox.system.waiting import within


class CommandError(PillarboxError):
    """A program that is missing or that failed, with its last lines."""


def run(
    arguments: Sequence[str | Path],
    *,
    input: str | None = None,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    log: Path | None = None,
    on_line: Callable[[str], None] | None = None,
    check: bool = True,
    hint: str | None = None,
    timeout: float | None = None,
) -> str:
    """Run a program and return its output (standard output and error together, as it came).

    Each line goes to ``on_line`` and to the file ``log`` while the program runs. Raises :class:`CommandError`
    when the program is missing or, with ``check``, when it fails, and when it has not ended after ``timeout`` seconds:
    it is killed then, and what it started has to end with it.
    """
    command = [str(each) for each in arguments]
    lines: list[str] = []
    try:
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE if input is not None else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env={**os.environ, **(env or {})},
            cwd=cwd,
            text=True,
            errors="replace",
        )
    except FileNotFoundError as error:
        raise CommandError(f"program {command[0]} is missing", hint="Install it, and run this again.") from error
    with (
        process,
        open(log, "a", encoding="utf-8") if log else open(os.devnull, "w") as sink,
        within(timeout, process.kill) as over,
    ):
        try:
            if input is not None and process.stdin is not None:
                process.stdin.write(input)
                process.stdin.close()
            assert process.stdout is not None
            for line in process.stdout:
                lines.append(line)
                sink.write(line)
                if on_line:
                    on_line(line.rstrip("\n"))
        except BaseException:
            process.terminate()
            raise
    if over.is_set():
        raise CommandError(f"{command[0]} was not done within {timeout:g} s:\n{tail(''.join(lines))}", hint=hint)
    if check and process.returncode != 0:
        raise CommandError(
            f"{command[0]} ended with {process.returncode}:\n{tail(''.join(lines))}",
            hint=hint or (f"The whole output is in {log}." if log else None),
        )
    return "".join(lines)


def tail(text: str, lines: int = 15) -> str:
    """The last lines of ``text``, indented."""
    return "\n".join("    " + line for line in text.rstrip().splitlines()[-lines:])
