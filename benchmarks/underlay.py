"""Measure the underlay of a running lab, and print a Markdown table.

    .venv/bin/python -m benchmarks.underlay [--name pillarbox-lab] [--pods 60]

How fast pods start, with an image that every node has, and what memory each service of a host takes (its processes'
proportional share, as the kernel counts it), while nobody asks anything of it.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator
from contextlib import redirect_stdout

from tests.story.lab import Lab

from pillarbox.lab import settings as lab_settings

DEPLOYMENT = "benchmark-underlay"
# Prints the megabytes of each service of a host, as JSON. A path in the file is /system.slice/<unit>[/…].
MEMORY = """
import glob, json, re

found = {}
for folder in glob.glob("/proc/[0-9]*"):
    try:
        unit = re.search(r"/system\\.slice/([^/\\n]+)\\.service", open(folder + "/cgroup").read())
        size = re.search(r"^Pss:\\s+(\\d+)", open(folder + "/smaps_rollup").read(), re.M)
    except OSError:
        continue
    if unit and size:
        found[unit[1]] = found.get(unit[1], 0) + int(size[1]) / 1024
print(json.dumps(found))
"""


def pods(lab: Lab, count: int) -> Iterator[tuple[str, str]]:
    """How long ``count`` pods that only sleep take until all are ready, spread as the scheduler likes."""
    image = lab.objects("pods", "app=memcached-server")[0]["spec"]["containers"][0]["image"]
    container = {"name": "one", "image": image, "command": ["sleep", "infinity"]}
    template = {"metadata": {"labels": {"app": DEPLOYMENT}}, "spec": {"terminationGracePeriodSeconds": 0}}
    spec = {"replicas": 0, "selector": {"matchLabels": {"app": DEPLOYMENT}}, "template": template}
    deployment = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": DEPLOYMENT}, "spec": spec}
    template["spec"]["containers"] = [container]
    text = json.dumps(deployment)
    try:
        lab.on("cfg01", "sh", "-c", f"echo '{text}' | kubectl --kubeconfig /etc/kubernetes/admin.conf apply -f -")
        # One on each node, so that the image is there.
        for replicas in (6, count):
            start = time.monotonic()
            lab.kubectl("scale", f"deployment/{DEPLOYMENT}", f"--replicas={replicas}")
            lab.kubectl("rollout", "status", f"deployment/{DEPLOYMENT}", "--timeout=600s")
        seconds = time.monotonic() - start
        yield f"{count - 6} pods started and ready", f"{seconds:.1f} s, {(count - 6) / seconds:.1f} a second"
    finally:
        lab.kubectl("delete", "deployment", DEPLOYMENT, "--ignore-not-found")
        lab.kubectl("wait", "--for=delete", "pod", "-l", f"app={DEPLOYMENT}", "--timeout=300s", check=False)


def memory(lab: Lab, host: str) -> Iterator[tuple[str, str]]:
    """What each service of a host takes that takes more than 5 MB."""
    found = json.loads(lab.on(host, "/opt/salt/bin/python3", "-c", MEMORY).stdout)
    large = sorted(((size, unit) for unit, size in found.items() if size > 5), reverse=True)
    total = sum(found.values())
    yield f"memory of {host}", f"{total:.0f} MB: " + ", ".join(f"{unit} {size:.0f}" for size, unit in large)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--name", default=lab_settings.DEFAULT_NAME)
    parser.add_argument("--pods", type=int, default=60)
    arguments = parser.parse_args()
    lab = Lab(lab_settings.load(arguments.name).model, arguments.name)
    # The table is all that goes to standard output: what the lab is asked, and says, goes beside it.
    with redirect_stdout(sys.stderr):
        rows = [*memory(lab, "kmst01"), *memory(lab, "ctl01"), *pods(lab, arguments.pods)]
    print("| what | measured |\n|---|---|")
    for what, measured in rows:
        print(f"| {what} | {measured} |")


if __name__ == "__main__":
    main()
