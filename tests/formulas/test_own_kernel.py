"""A node that has a kernel of its own, as a server has: what containers that play hosts cannot show.

One emulated server, and a master beside it, with the model's states: modules are loaded, systemd makes control groups
of version 2, its clock goes wrong, its disk gets full, it starts again. With --long: emulated, it takes minutes.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests import emulated, nodes
from tests.formulas.test_hosts import ROOT, as_root
from tests.machines import machines, up
from tests.nodes import IMAGE, Cluster, image

from pillarbox.model import Inventory
from pillarbox.system.waiting import until

# The first of them may have to compile.
pytestmark = pytest.mark.timeout(5400)

MASTER, NODE = "kmst01", "ctl01"
STATES = ("linux.network", "containerd", "kubernetes", "coredns")
#: Seconds; an emulated node is slow.
PATIENCE = 600


class OwnKernel(Cluster):
    """Its node is a server: what the lab's hosts have because they share one disk does not hold for it."""

    def pillar(self, name: str) -> dict[str, Any]:
        pillar = super().pillar(name)
        if kubelet := pillar["kubernetes"].get("pool", {}).get("kubelet"):
            del kubelet["config"]
        return pillar

    def get(self, what: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.kubectl(f"get {what} --output json"))
        return found

    def condition(self, name: str) -> str:
        conditions = self.get(f"node {NODE}")["status"]["conditions"]
        return next((each["status"] for each in conditions if each["type"] == name), "")

    def becomes(self, condition: str, wanted: str) -> None:
        assert until(lambda: self.condition(condition) == wanted, condition, patience=PATIENCE, every=2), condition

    def runs(self, name: str, script: str, **spec: Any) -> dict[str, Any]:
        """A pod on the node with this script, once it is ready."""
        container = {"name": "main", "image": IMAGE, "imagePullPolicy": "Never", "command": ["sh", "-c", script]}
        container |= {"resources": spec.pop("resources", {})}
        meta = {"name": name, "namespace": "default"}
        given = {"nodeName": NODE, "containers": [container], "terminationGracePeriodSeconds": 1, **spec}
        self.apply({"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": given})
        self.kubectl(f"wait --for condition=Ready --timeout {PATIENCE}s pod {name}")
        return self.get(f"pod {name}")


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OwnKernel]:
    scratch = tmp_path_factory.mktemp("cluster")
    programs = [nodes.made(name, command)["path"] for name, command in nodes.PROGRAMS.items()]
    (scratch / "image.tar").write_bytes(image())
    with machines(scratch, MASTER) as [master]:
        master.run("ip link add eth0 up type bridge; ip address add 172.30.20.11/24 dev eth0")
        with emulated.server(
            scratch / NODE,
            NODE,
            "172.30.20.21",
            tree=emulated.installed("bookworm", *nodes.PACKAGES),
            given={**{path: Path(path) for path in programs}, "/srv/image.tar": scratch / "image.tar"},
            at=master,
            bridge="eth0",
            gateway="172.30.20.11",
        ) as node:
            cluster = OwnKernel([master, node], Inventory(ROOT), scratch)
            cluster.highstate(MASTER, "linux.network", "etcd", "kubernetes")
            cluster.highstate(NODE, *STATES)
            node.run("ctr --namespace k8s.io images import /srv/image.tar")
            yield cluster


@as_root
@pytest.mark.long
@pytest.mark.compiled
def test_a_node_of_its_own_kernel(cluster: OwnKernel) -> None:
    node = cluster.machines[NODE]
    assert node.run("systemd-detect-virt || true").strip() == "qemu"
    assert node.run("stat --file-system --format %T /sys/fs/cgroup").strip() == "cgroup2fs"
    cluster.becomes("Ready", "True")
    again = cluster.highstate(NODE, *STATES)
    assert {key: each["changes"] for key, each in again.items() if each["changes"]} == {}
    assert {"br_netfilter", "overlay"} <= {line.split()[0] for line in node.run("lsmod").splitlines()}

    # systemd's groups, with the pod's limit.
    pod = cluster.runs("limited", "exec sleep 1000000", resources={"limits": {"memory": "32Mi", "cpu": "100m"}})
    group = pod["metadata"]["uid"].replace("-", "_")
    assert "active" in node.run("systemctl is-active kubepods.slice")
    found = node.run(f"find /sys/fs/cgroup/kubepods.slice -name '*{group}.slice' -exec cat {{}}/memory.max ';'")
    assert found.split() == [str(32 << 20)]
    assert "cri-containerd-" in node.run(f"find /sys/fs/cgroup/kubepods.slice -path '*{group}*' -name '*.scope'")
    cluster.kubectl("delete pod limited --wait")


@as_root
@pytest.mark.long
@pytest.mark.compiled
@pytest.mark.parametrize("minutes", [10, -20])
def test_its_clock_is_wrong_by_minutes(cluster: OwnKernel, minutes: int) -> None:
    node = cluster.machines[NODE]
    name = f"clock{abs(minutes)}"
    node.run(f"date --set '{minutes:+} minutes'")
    try:
        node.run("systemctl restart kubelet kube-proxy")
        cluster.becomes("Ready", "True")
        cluster.runs(name, "echo here; exec sleep 1000000")
        assert cluster.kubectl(f"logs {name}") == "here\n"
        assert cluster.kubectl(f"exec {name} -- sh -c 'echo there'") == "there\n"
        cluster.highstate(NODE, *STATES)
    finally:
        node.run(f"date --set '{-minutes:+} minutes'")
    cluster.kubectl(f"delete pod {name} --wait")


@as_root
@pytest.mark.long
@pytest.mark.compiled
def test_its_disk_gets_full(cluster: OwnKernel) -> None:
    """Who filled it goes, and who is to stay stays."""
    priority = {"apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass", "metadata": {"name": "stays"}}
    cluster.apply({**priority, "value": 1000000, "description": "of a test"})
    stays = cluster.runs("stays", "exec sleep 1000000", priorityClassName="stays")
    fill = "dd if=/dev/zero of=/data/file bs=1M; exec sleep 1000000"
    cluster.runs(
        "fills",
        fill,
        volumes=[{"name": "data", "emptyDir": {}}],
        containers=[
            {
                "name": "main",
                "image": IMAGE,
                "imagePullPolicy": "Never",
                "command": ["sh", "-c", fill],
                "volumeMounts": [{"name": "data", "mountPath": "/data"}],
            }
        ],
    )

    def evicted() -> bool:
        return bool(cluster.get("pod fills")["status"].get("reason") == "Evicted")

    assert until(evicted, "the pod that fills the disk to be evicted", patience=PATIENCE, every=2)
    assert "ephemeral-storage" in cluster.get("pod fills")["status"]["message"]
    cluster.becomes("DiskPressure", "False")
    after = cluster.get("pod stays")
    assert after["metadata"]["uid"] == stays["metadata"]["uid"]
    assert [each["restartCount"] for each in after["status"]["containerStatuses"]] == [0]
    cluster.kubectl("delete pod fills stays --wait")


@as_root
@pytest.mark.long
@pytest.mark.compiled
def test_it_starts_again(cluster: OwnKernel) -> None:
    node = cluster.machines[NODE]
    cluster.runs("again", "echo here; exec sleep 1000000")
    before = node.run("cat /proc/sys/kernel/random/boot_id")
    node.run("systemd-run --quiet --on-active=1 systemctl reboot")

    def booted() -> bool:
        return node.run("cat /proc/sys/kernel/random/boot_id", check=False) not in ("", before)

    assert until(booted, "the server to start again", patience=PATIENCE, every=2)
    up(node, patience=PATIENCE)
    cluster.becomes("Ready", "True")

    def restarted() -> bool:
        found = cluster.get("pod again")["status"].get("containerStatuses", [])
        return [each["ready"] and each["restartCount"] == 1 for each in found] == [True]

    assert until(restarted, "the pod to run again", patience=PATIENCE, every=2)
    assert {"br_netfilter", "overlay"} <= {line.split()[0] for line in node.run("lsmod").splitlines()}
    again = cluster.highstate(NODE, *STATES)
    assert {key: each["changes"] for key, each in again.items() if each["changes"]} == {}
