"""Compile programs for tests that run them, where no lab did; tests that take minutes anyway do so by themselves.

    python -m tests.compile DIRECTORY NAME...

Makes each program, of the version that the reference deployment names, in a directory of its own below DIRECTORY, as a
host does whose ``program:source:directory`` that is. ``PILLARBOX_PROGRAMS=DIRECTORY`` has tests find them.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from tests import programs
from tests.formulas.test_hosts import ROOT, compiled_states
from tests.formulas.test_program import PROGRAMS, SCRIPT

from pillarbox.model import Inventory


def kept(name: str, command: str, version: str = "") -> Path:
    """A command of a program, of the version that the reference deployment names or another one; where neither a lab
    nor an earlier test compiled that, this does, which takes minutes."""
    wanted = version or named(name)
    if wanted not in map(programs.version, programs.versions(name, command)):
        make(programs.MADE, {name: wanted})
    return next(file for file in programs.versions(name, command) if programs.version(file) == wanted)


def named(name: str) -> str:
    """The version of a program that the reference deployment names."""
    return str(Inventory(ROOT).node("cfg01").parameters["_param"][f"{name}_version"])


def make(directory: Path, versions: Mapping[str, str]) -> None:
    """Compile each program, of its version, below a directory. Raises :class:`subprocess.CalledProcessError`."""
    given = {name: {"version": version} for name, version in versions.items()}
    source = {"enabled": True, "directory": str(directory), "work": str(directory), "program": given}
    directory.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        parameters = {"_reclass_": {"name": {"full": "host"}}, "program": {"source": source}}
        low, _ = compiled_states("host", parameters, ["program"], Path(scratch))
        plan = next(chunk["dataset"] for chunk in low if chunk["__id__"] == "program_source_plan")
        for program in plan["programs"]:
            # Where Salt would have put it.
            program["source"] = str(PROGRAMS / program["name"] / program["version"])
        file = Path(scratch) / "plan.json"
        file.write_text(json.dumps(plan))
        subprocess.run([SCRIPT, file], check=True)


def main() -> None:
    if len(sys.argv) < 3:
        sys.exit((__doc__ or "").strip())
    try:
        make(Path(sys.argv[1]).resolve(), {name: named(name) for name in sys.argv[2:]})
    except subprocess.CalledProcessError as error:
        sys.exit(error.returncode)


if __name__ == "__main__":
    main()
