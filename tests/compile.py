"""Compile programs for tests that run them, where no lab did.

    python -m tests.compile DIRECTORY NAME...

Makes each program, of the version that the reference deployment names, in a directory of its own below DIRECTORY, as a
host does whose ``program:source:directory`` that is. ``PILLARBOX_PROGRAMS=DIRECTORY`` has tests find them.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.formulas.test_hosts import ROOT, compiled_states
from tests.formulas.test_program import PROGRAMS, SCRIPT

from pillarbox.model import Inventory


def main() -> None:
    if len(sys.argv) < 3:
        sys.exit((__doc__ or "").strip())
    directory, names = Path(sys.argv[1]).resolve(), sys.argv[2:]
    knobs = Inventory(ROOT).node("cfg01").parameters["_param"]
    versions = {name: {"version": str(knobs[f"{name}_version"])} for name in names}
    source = {"enabled": True, "directory": str(directory), "work": str(directory), "program": versions}
    with tempfile.TemporaryDirectory() as scratch:
        parameters = {"_reclass_": {"name": {"full": "host"}}, "program": {"source": source}}
        low, _ = compiled_states("host", parameters, ["program"], Path(scratch))
        plan = next(chunk["dataset"] for chunk in low if chunk["__id__"] == "program_source_plan")
        for program in plan["programs"]:
            # Where Salt would have put it.
            program["source"] = str(PROGRAMS / program["name"] / program["version"])
        file = Path(scratch) / "plan.json"
        file.write_text(json.dumps(plan))
        sys.exit(subprocess.run([SCRIPT, file], check=False).returncode)


if __name__ == "__main__":
    main()
