"""Cilium as the network engine: what the model says, and two nodes of it that enforce NetworkPolicies.

model   one changed line; certificates of its own, routes as with the engine `bridge`, and no warning of `check`
states  Salt compiles each host's highstate; the agent comes before the node's readiness is waited for
real    on machines of their own (systemd, Salt, a compiled Kubernetes): see the test (with --long, it takes minutes)
"""

from __future__ import annotations

import io
import json
import re
import shutil
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from tests import programs
from tests.controlplane import control_plane
from tests.formulas.test_hosts import ROOT, as_root, compiled, complaints, schema
from tests.machines import Machine, machines
from tests.manifests.reach import End, reaches
from tests.manifests.test_policies import policies

from pillarbox import pki
from pillarbox.model import Inventory
from pillarbox.pipeline.enforcement import unenforced
from pillarbox.revision import Revision
from pillarbox.system.waiting import until

MASTER, NODES = "kmst01", ("ctl01", "ctl02")
DNS = "169.254.20.10"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The reference model with Cilium, as docs/how-to/policies.md has it."""
    root = tmp_path_factory.mktemp("model")
    for folder in ("nodes", "classes", "formulas", "images"):
        shutil.copytree(ROOT / folder, root / folder)
    knobs = root / "classes/cluster/lab/init.yml"
    text = knobs.read_text()
    assert text.count("kubernetes_network: bridge") == 1
    knobs.write_text(text.replace("kubernetes_network: bridge", "kubernetes_network: cilium"))
    return root


@pytest.fixture(scope="module")
def inventory(model: Path) -> Inventory:
    return Inventory(model)


def test_one_line_is_another_engine(inventory: Inventory) -> None:
    before = Inventory(ROOT)
    for name in inventory.nodes:
        if name in before.nodes:
            now, then = inventory.node(name).parameters, before.node(name).parameters
            assert complaints(dict(now)) == []
            # Routes between hosts stay.
            assert now.get("linux") == then.get("linux")
    for name in NODES:
        node = inventory.node(name)
        network = node.parameters["kubernetes"]["pool"]["network"]
        assert (network["engine"], network["policies"]) == ("cilium", True)
        assert node.parameters["cilium"]["agent"]["shared_kernel"] and "cilium" in node.applications
        assert node.parameters["pki"]["certificate"]["cilium-agent"]["common_name"] == "cilium-agent"
    master = inventory.node(MASTER).parameters
    assert master["cilium"]["operator"]["enabled"]
    assert master["pki"]["certificate"]["cilium-operator"]["common_name"] == "cilium-operator"
    # Made last: what every cluster needs does not wait for it.
    made = [*inventory.node("cfg01").parameters["program"]["source"]["program"]]
    assert made[-1] == "cilium" and "kubernetes" in made


def test_nothing_is_left_to_warn_of(model: Path) -> None:
    assert [str(each) for each in unenforced(Revision.read(ROOT))]
    assert [str(each) for each in unenforced(Revision.read(model))] == []


# On machines of their own.

#: What hosts have besides what this machine has.
PACKAGES = (
    "clang-19",
    "conntrack",
    "containernetworking-plugins",
    "ebtables",
    "ethtool",
    "iptables",
    "nftables",
    "socat",
)
#: What pods run: each answers at two ports, of which policies know one as that of its Service.
APPS, OPEN, CLOSED = ("db", "api", "other"), 8080, 9090
SERVE = f"httpd -p {CLOSED} -h /www; exec httpd -f -p {OPEN} -h /www"
ASK = """
for target in $*; do
  answer=no
  wget -T 3 -q -O - "http://$target/" > /dev/null 2>&1 && answer=yes
  echo "$target $answer"
done
"""
#: Settings of the whole kernel that something on a host writes: in a test they are files.
SETTINGS = {
    "kernel/panic": "10",
    "kernel/panic_on_oops": "1",
    "vm/overcommit_memory": "1",
    "kernel/timer_migration": "1",
    "kernel/unprivileged_bpf_disabled": "2",
}


def made(name: str, command: str) -> dict[str, str]:
    """What program:source:program says of a program that was compiled on this machine."""
    found = programs.compiled(name, command)
    if found is None:
        pytest.skip(f"no {name} here: set PILLARBOX_PROGRAMS to a directory with it (formulas/cilium/README.md)")
    return {"version": found.parent.name.split("-")[-2], "path": str(found.parent)}


class Cluster:
    """A master and two nodes, each with the highstate of its roles."""

    def __init__(self, found: list[Machine], inventory: Inventory, scratch: Path) -> None:
        self.machines = {machine.name: machine for machine in found}
        self.master = self.machines[MASTER]
        self._inventory, self._scratch = inventory, scratch
        self._programs = {
            name: made(name, command)
            for name, command in {
                "etcd": "etcd",
                "containerd": "containerd",
                "runc": "runc",
                "coredns": "coredns",
                "kubernetes": "kubelet",
                "cilium": "cilium-agent",
            }.items()
        }

    def connect(self) -> None:
        """One network, at the master's bridge."""
        self.master.run("ip link add eth0 up type bridge; ip address add 172.30.20.11/24 dev eth0")
        for number, name in enumerate(NODES, 1):
            self.master.link(f"port{number}", self.machines[name], "eth0")
            self.master.run(f"ip link set port{number} master eth0")
            self.machines[name].run(f"ip address add 172.30.20.2{number}/24 dev eth0")
        # Who is no host of the cluster.
        self.master.run(
            "ip netns add outside; ip link add port0 up master eth0 type veth peer name eth0 netns outside;"
            "ip -n outside link set eth0 up; ip -n outside address add 172.30.20.99/24 dev eth0;"
            "ip -n outside route add 10.244.0.0/16 via 172.30.20.21"
        )

    def highstate(self, name: str, *states: str) -> None:
        """Apply these states; nothing of them fails."""
        node = self._inventory.node(name)
        pillar = json.loads(json.dumps(dict(node.parameters)))
        pillar["pki"] = pki.issue(node.parameters, self._scratch / "pki")["pki"]
        pillar["program"]["source"] = {"link": True, "program": self._programs}
        results = self.machines[name].apply(states, pillar, ROOT / "formulas")
        failed = {key: each["comment"] for key, each in results.items() if not each["result"]}
        assert not failed, (name, failed, [each.get("changes") for each in results.values() if not each["result"]])

    def kubectl(self, command: str, text: str = "") -> str:
        return self.master.run(f"kubectl --kubeconfig /etc/kubernetes/admin.conf {command}", text=text)


@pytest.fixture(scope="module")
def cluster(inventory: Inventory, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    scratch = tmp_path_factory.mktemp("cluster")
    layer = programs.debian_layer("cilium-hosts", scratch, *PACKAGES)
    if layer is None:
        pytest.skip("Debian's packages for hosts cannot be fetched here")
    with machines(scratch, MASTER, *NODES, layer=layer) as found:
        cluster = Cluster(found, inventory, scratch)
        cluster.connect()
        for machine in found:
            for name, value in SETTINGS.items():
                machine.write(f"/run/settings/{name}", value + "\n")
                machine.run(f"mount --bind /run/settings/{name} /proc/sys/{name}")
            machine.run("for each in containerd kubelet; do mkdir -p /var/lib/$each; mount -t tmpfs none /var/lib/$each; done")
        cluster.highstate(MASTER, "linux.network", "etcd", "kubernetes", "cilium")
        for name in NODES:
            cluster.highstate(name, "linux.network", "containerd", "kubernetes", "coredns", "cilium")
        yield cluster


@as_root
def test_try(cluster: Cluster) -> None:
    print(cluster.kubectl("get nodes -o wide"))
