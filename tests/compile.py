"""Compile programs for tests that run them, where no lab did; tests that take minutes anyway do so by themselves.

    python -m tests.compile DIRECTORY NAME...

Makes each program, of the version that the reference deployment names, in a directory of its own below DIRECTORY, as a
host does whose ``program:source:directory`` that is. ``PILLARBOX_PROGRAMS=DIRECTORY`` has tests find them.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests import programs
from tests.formulas.test_hosts import ROOT, compiled_states
from tests.formulas.test_program import PROGRAMS, SCRIPT

from pillarbox.model import Inventory
from pillarbox.system import files, locks


def kept(name: str, command: str, version: str = "") -> Path:
    """A command of a program, of the version that the reference deployment names or another one; where neither a lab
    nor an earlier test compiled that from the same pins, this does, which takes minutes, and keeps it for labs, too."""
    versions = {name: version or named(name)}
    wanted = Path(plan(Path("/"), versions)["programs"][0]["directory"]).name

    def found() -> Path | None:
        return next((each / command for each in programs.directories(name) if each.name == wanted), None)

    # Another process that wants the same is waited for, and leaves nothing to do.
    with locks.held(programs.CACHE / f"{wanted}.lock"):
        if found() is None:
            _compile(versions, wanted)
    file = found()
    assert file is not None and file.is_file(), f"{wanted} has no {command}"
    return file


def _compile(versions: Mapping[str, str], wanted: str) -> None:
    with tempfile.TemporaryDirectory(dir=programs.CACHE) as scratch:
        make(Path(scratch), versions)
        _keep(Path(scratch) / wanted)


def _keep(made: Path) -> None:
    """Keep a compiled program where this machine's labs keep theirs."""
    programs.kept().mkdir(parents=True, exist_ok=True)
    with (
        files.replacing(programs.kept() / f"{made.name}.tar", mode=0o600) as stream,
        tarfile.open(fileobj=stream, mode="w") as archive,
    ):
        archive.add(made, made.name)


def named(name: str) -> str:
    """The version of a program that the reference deployment names."""
    return str(Inventory(ROOT).node("cfg01").parameters["_param"][f"{name}_version"])


def pinned(name: str) -> list[str]:
    """The versions of a program that the formula can compile, the newest last."""
    return sorted((each.name for each in (PROGRAMS / name).iterdir()), key=programs.numbers)


def plan(directory: Path, versions: Mapping[str, str]) -> dict[str, Any]:
    """What a host is told that compiles each program, of its version, below a directory."""
    given = {name: {"version": version} for name, version in versions.items()}
    source = {"enabled": True, "directory": str(directory), "work": str(directory), "program": given}
    with tempfile.TemporaryDirectory() as scratch:
        parameters = {"_reclass_": {"name": {"full": "host"}}, "program": {"source": source}}
        low, _ = compiled_states("host", parameters, ["program"], Path(scratch))
    found: dict[str, Any] = next(chunk["dataset"] for chunk in low if chunk["__id__"] == "program_source_plan")
    for program in found["programs"]:
        # Where Salt would have put it.
        program["source"] = str(PROGRAMS / program["name"] / program["version"])
    return found


def make(directory: Path, versions: Mapping[str, str]) -> None:
    """Compile each program, of its version, below a directory. Raises :class:`subprocess.CalledProcessError`."""
    directory.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        json.dump(plan(directory, versions), file)
        file.flush()
        subprocess.run([SCRIPT, file.name], check=True)


def main() -> None:
    if len(sys.argv) < 3:
        sys.exit((__doc__ or "").strip())
    try:
        make(Path(sys.argv[1]).resolve(), {name: named(name) for name in sys.argv[2:]})
    except subprocess.CalledProcessError as error:
        sys.exit(error.returncode)


if __name__ == "__main__":
    main()
