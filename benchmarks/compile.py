"""Measure compiling what the hosts of the reference deployment run, and print a Markdown table.

    .venv/bin/python -m benchmarks.compile [DIRECTORY]

Once from nothing, modules and toolchain fetched, and once more where all is kept. In DIRECTORY, which must be empty or
not there, the programs stay; without it they are removed.
"""

from __future__ import annotations

import re
import sys
import tempfile
import time
from pathlib import Path

from tests import compile
from tests.formulas.test_hosts import ROOT

from pillarbox.model import Inventory

# In a build.log, where a program has its first line and its last.
_SINCE = re.compile(r"^\[ *(\d+)s\] (\S+ \S+): fetching modules$", re.M)
_UNTIL = re.compile(r"^\[ *(\d+)s\] (\S+ \S+): done$", re.M)


def seconds(build_log: Path) -> int:
    """How long the program of this log took."""
    text = build_log.read_text(encoding="utf-8")
    (until, name), since = _UNTIL.findall(text)[-1], {name: int(at) for at, name in _SINCE.findall(text)}
    return int(until) - since[name]


def measure(directory: Path) -> None:
    source = Inventory(ROOT).node("cfg01").parameters["program"]["source"]["program"]
    versions = {name: str(given["version"]) for name, given in source.items()}
    took = []
    for _ in range(2):
        start = time.monotonic()
        compile.make(directory, versions)
        took.append(time.monotonic() - start)
    print("\n| Program | Compiled in | Size |\n|---|---|---|")
    for made in sorted(file.parent for file in directory.glob("*/SHA256SUMS")):
        size = sum(file.stat().st_size for file in made.iterdir()) / 2**20
        print(f"| {made.name.rsplit('-', 1)[0]} | {seconds(made / 'build.log')} s | {size:.0f} MiB |")
    print(f"| all, from nothing, with the toolchain | {took[0]:.0f} s | |")
    print(f"| all, kept | {took[1]:.1f} s, {took[0] / took[1]:.0f} times less | |")


def main() -> None:
    if len(sys.argv) > 2 or any(each.startswith("-") for each in sys.argv[1:]):
        sys.exit((__doc__ or "").strip())
    if len(sys.argv) == 2:
        directory = Path(sys.argv[1]).resolve()
        if directory.is_dir() and any(directory.iterdir()):
            sys.exit(f"{directory} is not empty: name another directory")
        measure(directory)
    else:
        with tempfile.TemporaryDirectory() as scratch:
            measure(Path(scratch))


if __name__ == "__main__":
    main()
