"""Measure Kubernetes as Pillarbox makes and upgrades it against kubeadm, and print two Markdown tables.

    .venv/bin/python -m benchmarks.kubeadm [--old 1.36.3] [--only kubeadm] [--keep]

One after the other, each on hosts of its own (containers of the lab's host image, and as many): a master and three
nodes with the older version, from hosts that only booted to nodes that are all Ready; then the upgrade to the version
of the reference model, while a small web service answers. kubeadm is compiled from the modules that the lab's
Kubernetes comes from; images that a registry would serve are made of the same binaries, and importing them counts. Of
both the network is plain routes and kube-proxy in nftables mode. Pillarbox gets the reference model without OpenStack's
services, so that it has no image to build, and counts with its Salt master, its minions and its repository.

Fails when Pillarbox failed a request, or anything has another version afterwards than it should have.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from benchmarks import kubernetes
from benchmarks.kubeadm import hosts, release, web
from benchmarks.kubeadm.cluster import Kubeadm
from benchmarks.kubeadm.hosts import Host
from benchmarks.kubeadm.release import Release
from benchmarks.lab import runs
from tests.story.lab import change, own_model
from tests.story.load import Tally

from pillarbox.lab import settings as lab_settings
from pillarbox.model import Inventory

# The host that has no part in a cluster, and the cluster's.
APART, MASTER, NODES = "cfg01", "kmst01", ("ctl01", "ctl02", "ctl03")
SERVICES = "mariadb|rabbitmq|memcached|keystone|glance|placement"
OPENSTACK = rf"- system\.(kubernetes\.control\.({SERVICES})|openstack\.credentials)\n"
# kubeadm's master is a node too. containerd's and the kubelet's files lie on no file system of layers.
VOLUMES = """parameters:
  lab:
    host:
      volumes:
        containerd: /var/lib/containerd
        kubelet: /var/lib/kubelet
"""


@dataclass(frozen=True)
class Measured:
    """A cluster: seconds from hosts that booted to all nodes Ready, and of the upgrade; then the requests during it,
    the web service's pods that were started again in their place, and the versions; ``steps`` has the seconds of
    parts."""

    ready: float
    upgraded: float
    tally: Tally
    again: list[str]
    versions: Mapping[str, str]
    steps: Mapping[str, float]


def measured(
    cluster: kubernetes.Cluster,
    admin: Host,
    addresses: list[str],
    steps: dict[str, float],
    ready: float,
    upgrade: Callable[[], None],
) -> Measured:
    """Upgrade a cluster while the web service answers at those addresses."""
    web.deploy(admin)
    before = kubernetes.containers(cluster)
    with web.load(addresses) as load:
        start = time.monotonic()
        upgrade()
        seconds = time.monotonic() - start
    again = kubernetes.started_again(before, kubernetes.containers(cluster))
    return Measured(ready, seconds, load.tallies[web.NAME], again, kubernetes.versions(cluster), steps)


def kubeadm(cluster: Kubeadm, old: Release, new: Release) -> Measured:
    """Let kubeadm make a cluster and upgrade it."""
    start = time.monotonic()
    cluster.make(old)
    ready = time.monotonic() - start
    addresses = [host.address for host in cluster.nodes]
    return measured(cluster, cluster.master, addresses, cluster.seconds, ready, lambda: cluster.upgrade(new))


def kubeadm_in_lab(model: Path, name: str, old: str, new: str, keep: bool) -> Measured:
    """kubeadm on the hosts of a lab that goes no further than to boot them."""
    with (model / f"nodes/hosts/{MASTER}.yml").open("a") as file:
        file.write(VOLUMES)
    inventory = Inventory(model)
    programs = inventory.node(APART).parameters["program"]["source"]["program"]
    versions = {each: given["version"] for each, given in programs.items()}
    kubelet = inventory.node(NODES[0]).parameters["kubernetes"]["pool"]["kubelet"]
    configured = {"nodeStatusUpdateFrequency": kubelet["frequency"], **kubelet["config"]}
    with kubernetes.made(model, name, "--until", "hosts", keep=keep):
        settings = lab_settings.load(name, model)
        found = hosts.of_lab(settings)
        cluster = Kubeadm(found[MASTER], [found[each] for each in NODES], configured)

        def provided(version: str) -> Release:
            wanted = {**versions, "kubernetes": version, "kubeadm": version}
            made = release.provide(settings, found, APART, wanted)
            cluster.pack(found[APART], made)
            return made

        return kubeadm(cluster, provided(old), provided(new))


def pillarbox_in_lab(model: Path, name: str, old: str, new: str, keep: bool) -> Measured:
    """A lab, and its upgrade by one changed line."""
    shutil.rmtree(model / "nodes/images")
    change(model / "classes/cluster/lab/openstack.yml", OPENSTACK, "")
    kubernetes.name_versions(model, {"kubernetes": old})
    with kubernetes.made(model, name, keep=keep) as lab, tempfile.TemporaryDirectory() as folder:
        booted, steps = since_boot(name)
        ready = max(map(ready_since, lab.objects("nodes"))) - booted
        found = hosts.of_lab(lab_settings.load(name, model))
        programs = Release.read(found[APART])
        programs.pack(found[APART], [web.IMAGE])
        for each in NODES:
            release.take(found[each], [programs.archive(web.IMAGE)])
        clone = Path(folder, "clone")
        lab.command("clone", clone)

        def upgrade() -> None:
            done = kubernetes.upgrade(lab, {"kubernetes": new}, clone)
            steps.update({"git push": done.pushed, "orch.deploy": done.deployed})
            if done.code:
                sys.exit(f"orch.deploy exited {done.code}")

        return measured(lab, found[APART], lab.addresses, steps, ready, upgrade)


def since_boot(name: str) -> tuple[float, dict[str, float]]:
    """When the hosts of a lab had booted, and the seconds of each phase afterwards."""
    noted = runs(name)[0]
    moment = datetime.strptime(noted["start"] + "+0000", "%Y%m%dT%H%M%SZ%z").timestamp()
    names = list(noted["phases"])
    booted = names.index("hosts") + 1
    return moment + sum(noted["phases"][each] for each in names[:booted]), {
        each: noted["phases"][each] for each in names[booted:]
    }


def ready_since(node: Mapping[str, Any]) -> float:
    """When a node became Ready."""
    condition = next(each for each in node["status"]["conditions"] if each["type"] == "Ready")
    return datetime.fromisoformat(condition["lastTransitionTime"]).timestamp()


def table(found: Mapping[str, Measured], old: str, new: str) -> Iterator[str]:
    """The lines of both tables: the peers side by side, then each one's steps."""
    rows: dict[str, Callable[[Measured], float]] = {
        "hosts booted to all nodes Ready, s": lambda each: round(each.ready, 1),
        f"upgrade {old} to {new}, s": lambda each: round(each.upgraded, 1),
        "requests sent during it": lambda each: each.tally.sent,
        "of these failed": lambda each: len(each.tally.failures),
        "slowest, s": lambda each: round(each.tally.slowest, 2),
        "pods of the service started again in their place": lambda each: len(each.again),
    }
    yield f"| what | {' | '.join(found)} | {' / '.join(found)} |"
    yield "|---" * (len(found) + 2) + "|"
    for what, value in rows.items():
        values = [value(each) for each in found.values()]
        ratio = f"{values[0] / values[-1]:.2f}" if values[-1] and len(values) > 1 else "-"
        yield f"| {what} | {' | '.join(map(str, values))} | {ratio} |"
    yield ""
    yield "| whose | seconds of each step |"
    yield "|---|---|"
    for name, each in found.items():
        yield f"| {name} | {', '.join(f'{step} {seconds:.0f}' for step, seconds in each.steps.items())} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--old", default="1.36.3", help="the version that both begin with")
    parser.add_argument("--only", choices=PEERS, help="measure only one of them")
    parser.add_argument("--keep", action="store_true", help="leave the labs running, whatever comes")
    arguments = parser.parse_args()
    found: dict[str, Measured] = {}
    with tempfile.TemporaryDirectory() as folder:
        for peer in [arguments.only] if arguments.only else PEERS:
            measure, prefix = PEERS[peer]
            name = f"pillarbox-peer-{peer}"
            model = own_model(kubernetes.REPOSITORY, Path(folder, peer), name, prefix)
            new = kubernetes.version(model)
            found[peer] = measure(model, name, arguments.old, new, arguments.keep)
            print(f"{peer}: {found[peer]}", flush=True)
    print("\n".join(table(found, arguments.old, new)))
    problems = [
        f"{peer}: {name} has {version}"
        for peer, each in found.items()
        for name, version in each.versions.items()
        if version != f"v{new}"
    ]
    if "pillarbox" in found:
        problems += found["pillarbox"].tally.failures[:10]
    if problems:
        sys.exit("\n".join(problems))


# How each is measured, and the network of its lab. kubeadm first: its programs are the other's too, made by then.
PEERS = {"kubeadm": (kubeadm_in_lab, "172.30.23"), "pillarbox": (pillarbox_in_lab, "172.30.24")}

if __name__ == "__main__":
    main()
