"""Measure the upgrade of what is below the cloud, under a load of requests, and print a Markdown table.

    .venv/bin/python -m benchmarks.kubernetes [kubernetes etcd …] [--old etcd=3.6.16] [--masters 3] [--keep]

A lab of its own is made with older versions: of Kubernetes, etcd, containerd, runc and CoreDNS, or of those alone that
are named, each the newest that has pins and is older than the reference model's. The lines of all are then changed to
the model's versions, pushed together and deployed. What the lab's cache has not is compiled, both versions of it. Fails
when a request failed, a pod was started again in its place, or a host runs another version afterwards.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from benchmarks.lab import phases, push
from tests.compile import pinned
from tests.knobs import three_masters
from tests.programs import numbers
from tests.story.lab import COMMAND, KNOBS, Lab, change, own_model, run

from pillarbox.model import Inventory
from pillarbox.model.merge.query import MISSING, lookup

NAME, PREFIX = "pillarbox-kubernetes", "172.30.22"
REPOSITORY = Path(__file__).resolve().parents[1]
# What a service runs may be another file than the one that it would start with now.
_RUNNING = '"/proc/$(systemctl show --property=MainPID --value {})/exe" --version'
#: Each program with a line in the model: the command that prints its version, by what is in the pillar of its hosts.
PROGRAMS = {
    "kubernetes": {
        "kubernetes:master": _RUNNING.format("kube-apiserver"),
        "kubernetes:pool": _RUNNING.format("kubelet"),
    },
    "etcd": {"etcd:server": _RUNNING.format("etcd")},
    "containerd": {"containerd:server": _RUNNING.format("containerd")},
    "runc": {"containerd:server": "runc --version"},
    "coredns": {"coredns:server": _RUNNING.format("coredns")},
}


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


def line(program: str) -> str:
    """A pattern of the line that says a program's version."""
    return rf"\b{program}_version: (\S+)"


def version(model: Path, program: str = "kubernetes") -> str:
    """The version of a program that a model names."""
    found = re.search(line(program), (model / KNOBS).read_text())
    assert found, f"{KNOBS} names no version of {program}"
    return found[1]


def name_versions(model: Path, given: Mapping[str, str]) -> None:
    """Change the lines of these programs."""
    for program, wanted in given.items():
        change(model / KNOBS, line(program), f"{program}_version: {wanted}")


def older(program: str, new: str) -> str:
    """The newest version before that one that has pins. Exits where there is none."""
    found = [each for each in pinned(program) if numbers(each) < numbers(new)]
    if not found:
        sys.exit(f"no version of {program} before {new} has pins: ci/pin-go-modules {program} VERSION makes one")
    return found[-1]


def versions(cluster: Cluster) -> dict[str, str]:
    """Each node's kubelet, and the API server."""
    found = {
        each["metadata"]["name"]: each["status"]["nodeInfo"]["kubeletVersion"] for each in cluster.objects("nodes")
    }
    server = json.loads(cluster.kubectl("version", "-o", "json").stdout)["serverVersion"]["gitVersion"]
    return {"apiserver": server, **found}


def running(lab: Lab, programs: Iterable[str]) -> Iterator[tuple[str, str, str]]:
    """Each host that has one of these programs, the program, and the version that it says it is."""
    inventory = Inventory(lab.model)
    nodes = {name: inventory.node(name).parameters for name in inventory.nodes}
    for program in programs:
        for path, command in PROGRAMS[program].items():
            for host, pillar in nodes.items():
                if lookup(pillar, tuple(path.split(":"))) is not MISSING:
                    answer = lab.on(host, "sh", "-ec", command, check=False).stdout
                    found = re.search(r"\d+\.\d+\.\d+\S*", answer)
                    yield host, program, found[0] if found else "none"


def differing(found: Iterable[tuple[str, str, str]], wanted: Mapping[str, str]) -> list[str]:
    """What hosts have that is not the version that is wanted, in words."""
    return [f"{host} has {program} {version}" for host, program, version in found if version != wanted[program]]


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


def upgrade(lab: Lab, new: Mapping[str, str], clone: Path) -> Upgrade:
    """Change the lines of these programs in a clone of the lab's model, push and deploy."""
    name_versions(clone, new)
    planned, pushed = push(clone, ", ".join(f"{program} {version}" for program, version in new.items()))
    start = time.monotonic()
    done = lab.deploy(check=False)
    return Upgrade(planned, pushed, time.monotonic() - start, done.returncode)


def measure(lab: Lab, old: Mapping[str, str], new: Mapping[str, str], folder: Path) -> Iterator[tuple[str, str]]:
    """Every row of the table."""
    yield from phases(lab.name)
    clone = folder / "clone"
    lab.command("clone", clone)
    before = containers(lab)
    if others := differing(running(lab, old), old):
        sys.exit("\n".join(others))
    with lab.load() as load:
        done = upgrade(lab, new, clone)
    lines = ", ".join(f"{program} {version} to {new[program]}" for program, version in old.items())
    yield f"git push, {lines}", f"plan after {done.planned:.1f} s, done after {done.pushed:.0f} s"
    yield "orch.deploy", f"{done.deployed:.0f} s, exit {done.code}"
    yield "from push to report", f"{done.pushed + done.deployed:.0f} s"
    for service, tally in load.tallies.items():
        yield f"requests to {service}", json.dumps(tally.as_dict())
    after = containers(lab)
    again = started_again(before, after)
    stayed = len(before.keys() & after.keys())
    yield "pods", f"{stayed} of {len(before)} stayed, the others moved; started again in their place: {again or 'none'}"
    now = list(running(lab, new))
    yield "versions", ", ".join(" ".join(found) for found in now)
    failures = [failure for tally in load.tallies.values() for failure in tally.failures]
    problems = [
        *([f"orch.deploy exited {done.code}"] if done.code else []),
        *failures[:10],
        *again,
        *differing(now, new),
    ]
    if problems:
        sys.exit("\n".join(problems))


def chosen(given: str) -> tuple[str, str]:
    """A program and its version. Raises ValueError, which argparse reports, for anything else."""
    program, _, version = given.partition("=")
    if program not in PROGRAMS or not re.fullmatch(r"\d+\.\d+\.\d+", version):
        raise ValueError
    return program, version


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program", nargs="*", help=f"what is upgraded: {', '.join(PROGRAMS)}; by default all")
    parser.add_argument("--old", type=chosen, action="append", default=[], metavar="NAME=VERSION", help="begin with it")
    parser.add_argument("--masters", type=int, choices=[1, 3], default=1, help="how many Kubernetes masters there are")
    parser.add_argument("--keep", action="store_true", help="leave the lab running, whatever comes")
    arguments = parser.parse_args()
    programs, wanted = arguments.program or [*PROGRAMS], dict(arguments.old)
    if unknown := ({*programs} - PROGRAMS.keys()) | (wanted.keys() - {*programs}):
        parser.error(f"not among what is upgraded: {', '.join(sorted(unknown))}")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model = own_model(REPOSITORY, folder / "model", NAME, PREFIX)
        new = {program: version(model, program) for program in programs}
        old = {program: wanted.get(program) or older(program, new[program]) for program in programs}
        name_versions(model, old)
        if arguments.masters == 3:
            three_masters(model)
        with made(model, NAME, keep=arguments.keep) as lab:
            print("| what | measured |\n|---|---|")
            for row in measure(lab, old, new, folder):
                print(f"| {row[0]} | {row[1]} |", flush=True)


if __name__ == "__main__":
    main()
