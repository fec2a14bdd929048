"""Measure how long a pusher waits for the plan, beside what no tool could go below and what a peer would take.

    .venv/bin/python -m benchmarks.push [--runs 9]

A bare repository has this checkout's model. In every round the same one-line change is pushed to it: without a hook,
and with the hook of this checkout, which refuses what does not render and prints the plan. Beside them, in the same
round: starting Python with the libraries that a rendering needs (the limit of any hook in Python), and kapicorp-reclass
rendering the inventory of the two revisions, from two checkouts that are there already (what a hook made with it would
do first). Prints medians and ratios; the registry is not asked.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
ENGINES = ROOT / "benchmarks" / "model" / "engines.py"
CHANGED = ("classes/service/memcached/server/container.yml", "memory: 64", "memory: 65")
HOOK = """#!/bin/sh
exec {python} -c 'import sys; sys.argv = ["pillarbox", "hook", "pre-receive"]; from pillarbox.cli import main; main()'
"""


def git(*arguments: object, cwd: Path) -> str:
    identity = ["-c", "user.name=Benchmark", "-c", "user.email=benchmark@localhost"]
    command = ["git", *identity, *map(str, arguments)]
    return subprocess.run(command, cwd=cwd, check=True, capture_output=True, text=True).stdout.strip()


class Repository:
    """The model at two revisions, in a bare repository, with a checkout of each."""

    def __init__(self, folder: Path) -> None:
        self.bare, self.before, self.after = folder / "model.git", folder / "before", folder / "after"
        git("clone", "-q", "--bare", ROOT, self.bare, cwd=folder)
        for checkout in (self.before, self.after):
            git("clone", "-q", self.bare, checkout, cwd=folder)
        file, old, new = CHANGED
        changed = self.after / file
        text = changed.read_text()
        assert old in text, f"{file} lacks {old!r}"
        changed.write_text(text.replace(old, new))
        git("commit", "-qam", "One static parameter", cwd=self.after)
        self.branch = git("symbolic-ref", "--short", "HEAD", cwd=self.before)
        self.base = git("rev-parse", "HEAD", cwd=self.before)
        self.hook = self.bare / "hooks" / "pre-receive"

    def push(self) -> None:
        """Push the change anew."""
        git("update-ref", f"refs/heads/{self.branch}", self.base, cwd=self.bare)
        environment = {**os.environ, "PILLARBOX_BRANCH": self.branch}
        command = ["git", "push", "-q", "origin", f"HEAD:{self.branch}"]
        done = subprocess.run(command, cwd=self.after, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        assert self.hook.exists() == ("Plan for" in done.stderr), done.stderr

    def push_without(self) -> None:
        self.hook.unlink(missing_ok=True)
        self.push()

    def push_with(self) -> None:
        self.hook.write_text(HOOK.format(python=sys.executable))
        self.hook.chmod(0o755)
        self.push()

    def start(self) -> None:
        subprocess.run([sys.executable, "-c", "import click, yaml, msgpack, requests"], check=True)

    def peer(self) -> None:
        for checkout in (self.before, self.after):
            subprocess.run([sys.executable, ENGINES, "kapicorp-reclass", checkout], check=True, capture_output=True)


def seconds(action: Callable[[], None]) -> float:
    start = time.monotonic()
    action()
    return time.monotonic() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=9)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        repository = Repository(Path(folder))
        actions = {
            "git push without a hook": repository.push_without,
            "git push with the plan": repository.push_with,
            "Python and its libraries": repository.start,
            "kapicorp-reclass, both inventories": repository.peer,
        }
        for action in actions.values():
            action()
        taken: dict[str, list[float]] = {name: [] for name in actions}
        for _ in range(arguments.runs):
            for name, action in actions.items():
                taken[name].append(seconds(action))
    medians = {name: statistics.median(found) for name, found in taken.items()}
    print("| what | seconds, median (least to most) | the push with the plan is so many of it |\n|---|---|---|")
    for name, found in taken.items():
        ratio = medians["git push with the plan"] / medians[name]
        print(f"| {name} | {medians[name]:.2f} ({min(found):.2f} to {max(found):.2f}) | {ratio:.1f} |")


if __name__ == "__main__":
    main()
