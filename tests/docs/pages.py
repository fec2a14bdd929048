"""Pages of the documentation as what a reader does with them: files to write, commands to run.

A paragraph that ends in a path in code and a colon names the file that the block after it is. A block ``console`` is
commands after ``$``, and what they print; ``…`` stands for any text, and output that a page leaves out is not compared.
What follows ``console`` says where it runs: nothing, here; ``lab``, where a lab is up; ``elsewhere``, on a machine that
no test has, with the reason in ``test_pages.py``; a server's name after that says which. ``fails`` says that the last
command exits with an error.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile

DOCS = Path(__file__).resolve().parents[2] / "docs"
BLOCK = re.compile(r"^```([\w+]+)([^\n]*)\n((?:.*\n)*?)```$", re.MULTILINE)
NAMED = re.compile(r"`([\w./-]+)`[^`\n]*:\n\n\Z")


@dataclass(frozen=True)
class File:
    """A file that a page shows in full."""

    line: int
    path: str
    text: str


@dataclass(frozen=True)
class Command:
    """A command, what it prints according to the page, and where it runs."""

    line: int
    text: str
    output: str
    where: str
    fails: bool
    server: str = ""


def steps(page: Path) -> Iterator[File | Command]:
    """What a reader does, in the page's order."""
    text = page.read_text(encoding="utf-8")
    for block in BLOCK.finditer(text):
        language, info, body = block[1], block[2].split(), block[3]
        line = text.count("\n", 0, block.start()) + 1
        if language == "console":
            yield from _commands(body, line, info)
        elif named := NAMED.search(text, 0, block.start()):
            yield File(line, named[1], body)


def _commands(body: str, line: int, info: list[str]) -> Iterator[Command]:
    words = [word for word in info if word != "fails"]
    where, server = (*words, "", "")[:2]
    found = re.split(r"^\$ ", body, flags=re.MULTILINE)
    assert found[0] == "", f"line {line}: a console block starts with a command"
    line += 1
    for number, part in enumerate(found[1:]):
        # A command goes on in the next line after a backslash, and to the end of a here-document.
        command = re.match(r"[^\n]*<<EOF\n(?:.*\n)*?EOF\n|(?:[^\n]*\\\n)*[^\n]*\n", part)
        assert command
        fails = "fails" in info and number == len(found) - 2
        yield Command(line, command[0].strip(), part[command.end() :], where, fails, server)
        line += part.count("\n")


class Reader:
    """Somebody who does what a page says, in a directory, with ``pillarbox`` on the PATH."""

    def __init__(self, directory: Path, environment: dict[str, str]) -> None:
        self._here = directory
        self._environment = environment

    def do(self, step: File | Command) -> None:
        """Write the file, or run the command and compare what it prints."""
        if isinstance(step, File):
            path = self._here / step.path
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(step.text, encoding="utf-8")
            return
        script = f'{step.text}\ncode=$?; pwd >&3; exit "$code"'
        with TemporaryFile("w+") as where:
            done = subprocess.run(
                ["bash", "-c", f"exec 3>&{where.fileno()}; {script}"],
                cwd=self._here,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                pass_fds=(where.fileno(),),
            )
            where.seek(0)
            print(f"$ {step.text}\n{done.stdout}")
            assert (done.returncode != 0) == step.fails, (
                f"line {step.line}: {step.text} exited {done.returncode}:\n{done.stdout}"
            )
            self._here = Path(where.read().strip() or self._here)
        if step.output:
            assert matches(step.output, done.stdout), (
                f"line {step.line}: {step.text} printed\n{done.stdout}\nand the page says\n{step.output}"
            )


def environment(folder: Path, checkout: Path) -> dict[str, str]:
    """An environment in which `pillarbox` is the checkout's and git knows who commits; ``folder`` is the home."""
    programs = folder / "bin"
    programs.mkdir()
    (programs / "pillarbox").write_text(
        f"#!/bin/sh\nexec {sys.executable} -c 'from pillarbox.cli import main; main()' \"$@\"\n"
    )
    (programs / "pillarbox").chmod(0o755)
    return {
        **{name: value for name, value in os.environ.items() if not name.startswith(("GIT_", "PILLARBOX_"))},
        "PATH": f"{programs}:{os.environ['PATH']}",
        "PYTHONPATH": str(checkout / "src"),
        "PILLARBOX_CACHE": "off",
        "HOME": str(folder),
        "GIT_AUTHOR_NAME": "Reader",
        "GIT_AUTHOR_EMAIL": "reader@localhost",
        "GIT_COMMITTER_NAME": "Reader",
        "GIT_COMMITTER_EMAIL": "reader@localhost",
    }


def matches(expected: str, printed: str) -> bool:
    """Whether what was printed is what the page says, where ``…`` is any text."""
    pattern = ".*?".join(re.escape(part) for part in expected.rstrip("\n").split("…"))
    return re.fullmatch(pattern, printed.rstrip("\n"), re.DOTALL) is not None
