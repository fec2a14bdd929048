"""Measures the engines on every shape, in one run, each in a process of its own.

    python benchmarks/model/compare.py [--reclass-rs PYTHON] [--shapes references deep large] [--keep DIRECTORY]

``--reclass-rs`` is a Python that has reclass-rs, if this one has not. Times are from an imported library to the last
node as plain data, without the start of the interpreter; the best of three runs, and CPU seconds beside them, which
say more on a machine that others use, too.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from shapes import SHAPES, write

HERE = Path(__file__).parent
RUNS = 3


def run(python: str, engine: str, model: Path, *options: str, limit: float) -> dict[str, Any] | None:
    """What one run took, or ``None`` when it took too long or failed."""
    command = [python, str(HERE / "engines.py"), engine, str(model), *options]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=limit)
    except subprocess.TimeoutExpired:
        return None
    if done.returncode != 0:
        print(done.stderr[-500:], file=sys.stderr)
        return None
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def best(python: str, engine: str, model: Path, *options: str, runs: int, limit: float) -> dict[str, Any] | None:
    found = []
    for _ in range(runs):
        each = run(python, engine, model, *options, limit=limit)
        if each is None:
            break
        found.append(each)
        if each["cpu"] > 20:
            break
    return min(found, key=lambda each: float(each["cpu"])) if found else None


def show(label: str, found: dict[str, Any] | None) -> None:
    if found is None:
        print(f"  {label:34} no result within the limit")
        return
    per_node = 1000 * found["cpu"] / found["nodes"]
    print(
        f"  {label:34} {found['seconds']:8.2f} s {found['cpu']:8.2f} s CPU {per_node:8.2f} ms/node "
        f"{found['peak_mib']:6} MiB"
    )


def ratio(label: str, other: dict[str, Any] | None, own: dict[str, Any] | None) -> None:
    if other and own:
        print(f"  {label:34} {other['cpu'] / own['cpu']:8.1f} times")


def change_one(model: Path, number: int) -> None:
    """Change one class, as an edit does."""
    file = sorted((model / "classes").rglob("*.yml"))[-1]
    file.write_text(file.read_text() + f"  changed{number}: true\n")
    # Files that were written a moment ago are read again, whatever the cache says.
    time.sleep(2.5)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--reclass-rs", default=sys.executable)
    parser.add_argument("--shapes", nargs="+", default=["references", "deep", "large"], choices=SHAPES)
    parser.add_argument("--keep", type=Path)
    parser.add_argument("--runs", type=int, default=RUNS)
    parser.add_argument("--limit", type=float, default=300)
    arguments = parser.parse_args()
    folder = arguments.keep or Path(tempfile.mkdtemp(prefix="pillarbox-models-"))
    measure = {"runs": arguments.runs, "limit": arguments.limit}
    try:
        for shape in arguments.shapes:
            model = write(shape, folder / shape)
            print(shape, flush=True)
            own = best(sys.executable, "pillarbox", model, **measure)
            show("pillarbox", own)
            if shape == "large":
                large(model, folder, own, measure)
                continue
            others = {
                "kapicorp-reclass": best(sys.executable, "kapicorp-reclass", model, runs=1, limit=arguments.limit),
                "reclass-rs": best(arguments.reclass_rs, "reclass-rs", model, **measure),
            }
            for name, found in others.items():
                show(name, found)
                ratio(f"{name} takes", found, own)
    finally:
        if arguments.keep is None:
            shutil.rmtree(folder)


def large(model: Path, folder: Path, own: dict[str, Any] | None, measure: dict[str, Any]) -> None:
    small = write("small", folder / "small")
    show("100 such nodes", best(sys.executable, "pillarbox", small, **measure))
    node = sorted((model / "nodes").rglob("*.yml"))[5000].stem
    show("one node, cold", best(sys.executable, "pillarbox", model, "--node", node, **measure))
    show("every node by itself, as for Salt", run(sys.executable, "serve", model, limit=measure["limit"]))
    cache = ("--cache", str(folder / "cache"))
    time.sleep(2.5)
    filled = run(sys.executable, "pillarbox", model, *cache, limit=measure["limit"])
    show("all, filling the cache", filled)
    found = []
    for number in range(measure["runs"]):
        change_one(model, number)
        found.append(run(sys.executable, "pillarbox", model, *cache, limit=measure["limit"]))
    changed = min(filter(None, found), key=lambda each: float(each["cpu"]), default=None)
    show("one class changed since", changed)
    ratio("without a cache it takes", own, changed)
    ratio("filling the cache takes", filled, changed)


if __name__ == "__main__":
    main()
