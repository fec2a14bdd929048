"""Measure the upgrade of Kubernetes by one changed line, under a load of requests, and print a Markdown table.

    .venv/bin/python -m benchmarks.kubernetes [--old 1.36.3] [--keep]

A lab of its own is made with the older version; the version of the reference model is then pushed and deployed. Both
are compiled where the lab's cache has them not. Fails when a request failed, a pod was started again in its place, or a
node has another version afterwards.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks.lab import phases, push
from tests.story.lab import COMMAND, KNOBS, Lab, change, own_model, run

NAME, PREFIX = "pillarbox-kubernetes", "172.30.22"
LINE = r"kubernetes_version: \S+"
REPOSITORY = Path(__file__).resolve().parents[1]


def versions(lab: Lab) -> dict[str, str]:
    """Each node's kubelet, and the API server."""
    found = {each["metadata"]["name"]: each["status"]["nodeInfo"]["kubeletVersion"] for each in lab.objects("nodes")}
    server = json.loads(lab.kubectl("version", "-o", "json").stdout)["serverVersion"]["gitVersion"]
    return {"apiserver": server, **found}


def containers(lab: Lab) -> dict[str, tuple[str, int]]:
    """The name of each pod that runs and how often its containers were started again, by its uid."""
    return {
        pod["metadata"]["uid"]: (
            pod["metadata"]["name"],
            sum(each["restartCount"] for each in pod["status"].get("containerStatuses", ())),
        )
        for pod in lab.objects("pods")
        if pod["status"]["phase"] == "Running"
    }


def measure(lab: Lab, old: str, new: str, folder: Path) -> Iterator[tuple[str, str]]:
    """Every row of the table."""
    yield from phases(lab.name)
    clone = folder / "clone"
    lab.command("clone", clone)
    change(clone / KNOBS, LINE, f"kubernetes_version: {new}")
    before = containers(lab)
    planned, pushed = push(clone, f"Kubernetes {new}")
    yield f"git push, {old} to {new}", f"plan after {planned:.1f} s, done after {pushed:.0f} s"
    start = time.monotonic()
    with lab.load() as load:
        done = lab.deploy(check=False)
    yield "orch.deploy", f"{time.monotonic() - start:.0f} s, exit {done.returncode}"
    for service, tally in load.tallies.items():
        yield f"requests to {service}", json.dumps(tally.as_dict())
    after = containers(lab)
    again = [name for uid, (name, count) in after.items() if uid in before and count > before[uid][1]]
    stayed = len(before.keys() & after.keys())
    yield "pods", f"{stayed} of {len(before)} stayed, the others moved; started again in their place: {again or 'none'}"
    now = versions(lab)
    yield "versions", ", ".join(f"{name} {version}" for name, version in now.items())
    failures = [failure for tally in load.tallies.values() for failure in tally.failures]
    problems = [
        *([f"orch.deploy exited {done.returncode}"] if done.returncode else []),
        *failures[:10],
        *again,
        *(f"{name} has {version}" for name, version in now.items() if version != f"v{new}"),
    ]
    if problems:
        sys.exit("\n".join(problems))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--old", default="1.36.3", help="the version that it begins with")
    parser.add_argument("--keep", action="store_true", help="leave the lab running, whatever comes")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model = own_model(REPOSITORY, folder / "model", NAME, PREFIX)
        found = re.search(LINE, (model / KNOBS).read_text())
        assert found, f"{KNOBS} names no version"
        new = found[0].split()[-1]
        change(model / KNOBS, LINE, f"kubernetes_version: {arguments.old}")
        command = [*COMMAND, "--model", str(model), "lab", "--name", NAME]
        try:
            if run([*command, "up"]).returncode:
                sys.exit("the lab did not come up")
            print("| what | measured |\n|---|---|")
            for row in measure(Lab(model, NAME), arguments.old, new, folder):
                print(f"| {row[0]} | {row[1]} |", flush=True)
        finally:
            if not arguments.keep:
                run([*command, "clean", "--keep-cache"])


if __name__ == "__main__":
    main()
