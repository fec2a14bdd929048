"""Measure the story of the README on a running lab, and print the figures as a Markdown table.

    .venv/bin/python -m benchmarks.lab [--name pillarbox-lab]

A clone of the lab's model gets an empty commit, then one changed static parameter, then the next release; each is
pushed and deployed, the release under a load of requests to the services. The lab must run the release zed, and
runs epoxy afterwards. The phases of ``make lab`` are taken from what the lab noted of its own runs.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.story.lab import KNOBS, Lab, change

from pillarbox.images.registry import Registry
from pillarbox.lab import settings as lab_settings
from pillarbox.model import Inventory


def runs(name: str) -> list[dict[str, Any]]:
    """Each noted run of ``make lab``: its start, and the seconds of its phases."""
    files = sorted((lab_settings.load(name).state / "durations").glob("*.json"))
    return [json.loads(file.read_text()) for file in files]


def phases(name: str) -> Iterator[tuple[str, str]]:
    """A row for each of them."""
    for noted in runs(name):
        total = sum(noted["phases"].values())
        yield (
            f"make lab, {noted['start']}",
            f"{total:.0f} s: " + ", ".join(f"{phase} {seconds:.0f}" for phase, seconds in noted["phases"].items()),
        )


def push(clone: Path, message: str) -> tuple[float, float]:
    """Commit and push; seconds until the plan was on the screen, and until the push ended with its images built."""
    identity = ["-c", "user.name=Benchmark", "-c", "user.email=benchmark@localhost"]
    subprocess.run(["git", "-C", clone, *identity, "commit", "-qam", message, "--allow-empty"], check=True)
    start, planned = time.monotonic(), 0.0
    pushing = subprocess.Popen(["git", "-C", clone, "push"], stderr=subprocess.PIPE, text=True)
    assert pushing.stderr is not None
    for line in pushing.stderr:
        if "Plan for" in line:
            planned = time.monotonic() - start
    assert pushing.wait() == 0, "the push failed"
    return planned, time.monotonic() - start


def deploy(lab: Lab) -> float:
    start = time.monotonic()
    lab.deploy()
    return time.monotonic() - start


def sizes(lab: Lab) -> Iterator[tuple[str, str]]:
    """Each image that the registry has, as the builder's engine counts it and as it was pushed."""
    listed = lab.on("cfg01", "docker", "image", "ls", "--format", "{{.Repository}} {{.Tag}} {{.Size}}").stdout
    inventory = Inventory(lab.model)
    address = inventory.node("cfg01").parameters["lab"]["host"]["address"]
    for line in sorted(listed.splitlines()):
        reference, tag, size = line.split()
        host, _, repository = reference.partition("/")
        if tag.startswith("key-"):
            continue
        manifest = Registry(f"{address}:{host.partition(':')[2]}").manifest(repository, tag)
        if manifest is not None:
            yield f"{repository}:{tag}", f"{size}, {manifest.pushed_size / 1e6:.0f} MB as pushed"


def measure(lab: Lab) -> Iterator[tuple[str, str]]:
    """Every row of the table."""
    yield from phases(lab.name)
    with tempfile.TemporaryDirectory() as folder:
        clone = Path(folder) / "model"
        lab.command("clone", clone)
        for title, edit in (
            ("no change", None),
            (
                "one static parameter",
                (
                    "classes/service/memcached/server/container.yml",
                    r"memory: \d+",
                    f"memory: {65 + time.time_ns() % 900}",
                ),
            ),
            (
                "release zed to epoxy",
                (KNOBS, "openstack_version: zed", "openstack_version: epoxy"),
            ),
        ):
            if edit:
                file, pattern, new = edit
                change(clone / file, pattern, new)
            planned, pushed = push(clone, title)
            yield f"git push, {title}", f"plan after {planned:.1f} s, images in the registry after {pushed:.0f} s"
            with lab.load() as load:
                seconds = deploy(lab)
            counted = "; ".join(f"{name} {json.dumps(tally.as_dict())}" for name, tally in load.tallies.items())
            yield f"orch.deploy, {title}", f"{seconds:.0f} s; {counted}"
    yield from sizes(lab)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--name", default=lab_settings.DEFAULT_NAME)
    name = parser.parse_args().name
    print("| what | measured |\n|---|---|")
    for row in measure(Lab(lab_settings.load(name).model, name)):
        print(f"| {row[0]} | {row[1]} |", flush=True)


if __name__ == "__main__":
    main()
