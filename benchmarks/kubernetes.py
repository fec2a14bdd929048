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
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from benchmarks.lab import phases, push
from tests.story.lab import COMMAND, KNOBS, Lab, change, own_model, run

NAME, PREFIX = "pillarbox-kubernetes", "172.30.22"
LINE = r"kubernetes_version: \S+"
REPOSITORY = Path(__file__).resolve().parents[1]


class Cluster(Protocol):
    """What is asked of any cluster, a lab's and others."""

    def kubectl(self, *arguments: str) -> subprocess.CompletedProcess[str]: ...

    def objects(self, kind: str) -> list[dict[str, Any]]: ...


@dataclass(frozen=True)
class Upgrade:
    """The changed line, pushed and deployed: seconds until the plan, of the push and of the deploy; its exit code."""

    planned: float
    pushed: float
    deployed: float
    code: int


@contextmanager
def made(model: Path, name: str, *arguments: str, keep: bool = False) -> Iterator[Lab]:
    """A lab of that model, which is taken away afterwards unless it is to be kept."""
    command = [*COMMAND, "--model", str(model), "lab", "--name", name]
    try:
        if run([*command, "up", *arguments]).returncode:
            sys.exit(f"the lab {name} did not come up")
        yield Lab(model, name)
    finally:
        if not keep:
            run([*command, "clean", "--keep-cache"])


def version(model: Path) -> str:
    """The version of Kubernetes that a model names."""
    found = re.search(LINE, (model / KNOBS).read_text())
    assert found, f"{KNOBS} names no version"
    return found[0].split()[-1]


def versions(cluster: Cluster) -> dict[str, str]:
    """Each node's kubelet, and the API server."""
    found = {
        each["metadata"]["name"]: each["status"]["nodeInfo"]["kubeletVersion"] for each in cluster.objects("nodes")
    }
    server = json.loads(cluster.kubectl("version", "-o", "json").stdout)["serverVersion"]["gitVersion"]
    return {"apiserver": server, **found}


def containers(cluster: Cluster) -> dict[str, tuple[str, int]]:
    """The name of each pod that runs and how often its containers were started again, by its uid."""
    return {
        pod["metadata"]["uid"]: (
            pod["metadata"]["name"],
            sum(each["restartCount"] for each in pod["status"].get("containerStatuses", ())),
        )
        for pod in cluster.objects("pods")
        if pod["status"]["phase"] == "Running"
    }


def started_again(before: dict[str, tuple[str, int]], after: dict[str, tuple[str, int]]) -> list[str]:
    """The pods that stayed, but not all of their containers did."""
    return [name for uid, (name, count) in after.items() if uid in before and count > before[uid][1]]


def upgrade(lab: Lab, new: str, clone: Path) -> Upgrade:
    """Change the line in a clone of the lab's model, push and deploy."""
    change(clone / KNOBS, LINE, f"kubernetes_version: {new}")
    planned, pushed = push(clone, f"Kubernetes {new}")
    start = time.monotonic()
    done = lab.deploy(check=False)
    return Upgrade(planned, pushed, time.monotonic() - start, done.returncode)


def measure(lab: Lab, old: str, new: str, folder: Path) -> Iterator[tuple[str, str]]:
    """Every row of the table."""
    yield from phases(lab.name)
    clone = folder / "clone"
    lab.command("clone", clone)
    before = containers(lab)
    with lab.load() as load:
        done = upgrade(lab, new, clone)
    yield f"git push, {old} to {new}", f"plan after {done.planned:.1f} s, done after {done.pushed:.0f} s"
    yield "orch.deploy", f"{done.deployed:.0f} s, exit {done.code}"
    for service, tally in load.tallies.items():
        yield f"requests to {service}", json.dumps(tally.as_dict())
    after = containers(lab)
    again = started_again(before, after)
    stayed = len(before.keys() & after.keys())
    yield "pods", f"{stayed} of {len(before)} stayed, the others moved; started again in their place: {again or 'none'}"
    now = versions(lab)
    yield "versions", ", ".join(f"{name} {version}" for name, version in now.items())
    failures = [failure for tally in load.tallies.values() for failure in tally.failures]
    problems = [
        *([f"orch.deploy exited {done.code}"] if done.code else []),
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
        new = version(model)
        change(model / KNOBS, LINE, f"kubernetes_version: {arguments.old}")
        with made(model, NAME, keep=arguments.keep) as lab:
            print("| what | measured |\n|---|---|")
            for row in measure(lab, arguments.old, new, folder):
                print(f"| {row[0]} | {row[1]} |", flush=True)


if __name__ == "__main__":
    main()
