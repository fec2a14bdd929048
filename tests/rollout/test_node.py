"""Nodes are drained and put back on a real API server; a stand-in does to pods what schedulers and kubelets do."""

from __future__ import annotations

import os
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from tests import programs
from tests.controlplane import ControlPlane

from pillarbox.manifests import Manifest
from pillarbox.rollout import ApiError, Cluster, RolloutError, node
from pillarbox.rollout.errors import Refused
from pillarbox.rollout.objects import ObjectRef
from pillarbox.rollout.states import ObjectState
from pillarbox.system.progress import Progress

_MERGE = "application/merge-patch+json"


class Nodes(threading.Thread):
    """Pods are bound to the first node that takes any, become ready there, and go when they are told to: not on nodes
    that are ``silent``, and while images are ``missing`` none becomes ready. ``crowded`` ones have no room for more."""

    def __init__(self, cluster: Cluster, namespace: str) -> None:
        super().__init__(daemon=True)
        self.cluster, self.namespace = cluster, namespace
        self.full, self.empty = f"full-{namespace}", f"empty-{namespace}"
        self.stopping = threading.Event()
        #: How many pods were ready when each one went.
        self.left: list[int] = []
        self.silent: set[str] = set()
        self.missing = False
        self.crowded: set[str] = set()

    def run(self) -> None:
        while not self.stopping.wait(0.1):
            for name in (self.full, self.empty):
                with suppress(ApiError):
                    self.beat(name)
            pods, _ = self.cluster.list("v1", "Pod", self.namespace)
            for pod in pods:
                if pod["spec"].get("nodeName") not in self.silent:
                    with suppress(ApiError):
                        self.serve(pod, pods)

    def beat(self, name: str, **conditions: str) -> None:
        """What the node says of itself, or what is said of one that is silent."""
        found = self.cluster.get(ObjectRef("v1", "Node", "", name))
        known = {each["type"]: each["status"] for each in (found or {}).get("status", {}).get("conditions") or ()}
        wanted = {"Ready": "Unknown" if name in self.silent else "True", **conditions}
        if any(known.get(kind) != status for kind, status in wanted.items()):
            now = {"lastHeartbeatTime": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"), "message": "so it says"}
            listed = [{"type": kind, "status": status, **now} for kind, status in wanted.items()]
            path, kind = f"/api/v1/nodes/{name}/status", "application/strategic-merge-patch+json"
            self.cluster._request("PATCH", path, body={"status": {"conditions": listed}}, content_type=kind)

    def quiet(self, name: str) -> timedelta:
        """Since when the node has reported nothing."""
        found = self.cluster.get(ObjectRef("v1", "Node", "", name)) or {}
        (last,) = (each["lastHeartbeatTime"] for each in found["status"]["conditions"] if each["type"] == "Ready")
        return datetime.now(UTC) - datetime.fromisoformat(last)

    def serve(self, pod: dict[str, Any], pods: list[dict[str, Any]]) -> None:
        name = pod["metadata"]["name"]
        path = f"/api/v1/namespaces/{self.namespace}/pods/{name}"
        if pod["metadata"].get("deletionTimestamp"):
            self.left.append(sum(ready(each) for each in pods))
            self.cluster._request("DELETE", path, body={"gracePeriodSeconds": 0})
        elif not pod["spec"].get("nodeName") and not (target := asked(pod) or self.free()):
            refused = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "no room"}
            self.cluster._request(
                "PATCH", f"{path}/status", body={"status": {"conditions": [refused]}}, content_type=_MERGE
            )
        elif not pod["spec"].get("nodeName"):
            target = {"apiVersion": "v1", "kind": "Node", "name": target}
            body = {"apiVersion": "v1", "kind": "Binding", "metadata": {"name": name}, "target": target}
            self.cluster._request("POST", f"{path}/binding", body=body)
        elif self.missing:
            waits = {"waiting": {"reason": "ImagePullBackOff", "message": "no registry answers"}}
            container = {"name": "main", "image": "", "imageID": "", "ready": False, "restartCount": 0, "state": waits}
            body = {"status": {"phase": "Pending", "containerStatuses": [container]}}
            if not ready(pod):
                self.cluster._request("PATCH", f"{path}/status", body=body, content_type=_MERGE)
        elif not ready(pod):
            conditions = [{"type": "Ready", "status": "True", "lastTransitionTime": "2020-01-01T00:00:00Z"}]
            body = {"status": {"phase": "Running", "conditions": conditions}}
            self.cluster._request("PATCH", f"{path}/status", body=body, content_type=_MERGE)

    def free(self) -> str:
        both = (each for each in (self.full, self.empty) if each not in self.crowded)
        return next((each for each in both if not unschedulable(self.cluster, each)), "")


def asked(pod: dict[str, Any]) -> str:
    """The node that a pod asks for: a DaemonSet's do it by a field, others by a label."""
    affinity = (pod["spec"].get("affinity") or {}).get("nodeAffinity") or {}
    for term in (affinity.get("requiredDuringSchedulingIgnoredDuringExecution") or {}).get("nodeSelectorTerms") or ():
        for field in term.get("matchFields") or ():
            return str(field["values"][0])
    return str((pod["spec"].get("nodeSelector") or {}).get("kubernetes.io/hostname", ""))


def ready(pod: dict[str, Any]) -> bool:
    conditions = pod.get("status", {}).get("conditions") or ()
    return not pod["metadata"].get("deletionTimestamp") and any(
        (each["type"], each["status"]) == ("Ready", "True") for each in conditions
    )


def unschedulable(cluster: Cluster, name: str) -> bool:
    found = cluster.get(ObjectRef("v1", "Node", "", name))
    assert found
    return bool(found["spec"].get("unschedulable"))


@pytest.fixture
def nodes(apiserver: ControlPlane, cluster: Cluster, namespace: str) -> Iterator[Nodes]:
    with Cluster(apiserver.kubeconfig) as connection:
        thread = Nodes(connection, namespace)
        for name in (thread.full, thread.empty):
            metadata = {"name": name, "labels": {"kubernetes.io/hostname": name}}
            cluster.apply({"apiVersion": "v1", "kind": "Node", "metadata": metadata})
        thread.start()
        yield thread
        for name in (thread.full, thread.empty):
            cluster.delete(ObjectRef("v1", "Node", "", name))
        thread.stopping.set()
        thread.join(10)


@pytest.fixture
def runs(cluster: Cluster, namespace: str, nodes: Nodes) -> Callable[..., None]:
    """Apply manifests, and wait until so many pods are ready."""

    def run(*manifests: Manifest, pods: int) -> None:
        for manifest in manifests:
            cluster.apply(manifest.object)
        wait(lambda: sum(map(ready, cluster.list("v1", "Pod", namespace)[0])) == pods)

    return run


def wait(true: Callable[[], bool], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def budget(cluster: Cluster, namespace: str, **spec: Any) -> None:
    version = "policy/v1" if cluster.serves("policy/v1", "PodDisruptionBudget") else "policy/v1beta1"
    selector = {"matchLabels": {"app": "web"}}
    metadata = {"name": "web", "namespace": namespace}
    made = {"apiVersion": version, "kind": "PodDisruptionBudget", "metadata": metadata}
    cluster.apply({**made, "spec": {"selector": selector, **spec}})
    wanted = ObjectRef(version, "PodDisruptionBudget", namespace, "web")
    wait(lambda: ((cluster.get(wanted) or {}).get("status") or {}).get("currentHealthy") == 2)


def where(cluster: Cluster, namespace: str) -> dict[str, str]:
    pods, _ = cluster.list("v1", "Pod", namespace)
    return {pod["metadata"]["name"]: pod["spec"].get("nodeName", "") for pod in pods}


def test_pods_move_as_their_budget_allows(
    cluster: Cluster, namespace: str, nodes: Nodes, runs: Callable[..., None], deployment: Callable[..., Manifest]
) -> None:
    runs(deployment("web"), pods=2)
    budget(cluster, namespace, minAvailable=1)
    node.cordon(cluster, nodes.full)
    node.drain(cluster, nodes.full, patience=60, progress=Progress(sink=print))
    wait(lambda: sum(map(ready, cluster.list("v1", "Pod", namespace)[0])) == 2)
    assert set(where(cluster, namespace).values()) == {nodes.empty}
    assert len(nodes.left) == 2
    assert min(nodes.left) >= 1
    both = (nodes.full, nodes.empty)
    assert node.cordoned(cluster, both) == (nodes.full,)
    node.uncordon(cluster, nodes.full)
    assert not unschedulable(cluster, nodes.full)
    assert node.cordoned(cluster, both) == ()


def test_what_can_run_nowhere_else_stays(
    cluster: Cluster,
    namespace: str,
    nodes: Nodes,
    runs: Callable[..., None],
    deployment: Callable[..., Manifest],
    manifest: Callable[..., Manifest],
    lines: list[str],
) -> None:
    pinned, volume = deployment("pinned", replicas=1), deployment("volume", replicas=1)
    pinned.object["spec"]["template"]["spec"]["nodeSelector"] = {"kubernetes.io/hostname": nodes.full}
    volume.object["spec"]["template"]["spec"]["volumes"] = [
        {"name": "data", "persistentVolumeClaim": {"claimName": "data"}}
    ]
    here = [{"key": "kubernetes.io/hostname", "operator": "In", "values": [nodes.full]}]
    affinity = {"required": {"nodeSelectorTerms": [{"matchExpressions": here}]}}
    size, modes = {"storage": "1Gi"}, ["ReadWriteOnce"]
    claim = {"resources": {"requests": size}, "accessModes": modes, "volumeName": namespace, "storageClassName": ""}
    stored = {"capacity": size, "accessModes": modes, "local": {"path": "/srv"}, "nodeAffinity": affinity}
    cluster.apply({"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": namespace}, "spec": stored})
    runs(
        manifest("PersistentVolumeClaim", "data", {"spec": claim}),
        pinned,
        volume,
        deployment("web", replicas=1),
        pods=3,
    )
    node.cordon(cluster, nodes.full)
    node.drain(cluster, nodes.full, patience=60, progress=Progress(sink=lines.append))
    wait(lambda: sum(map(ready, cluster.list("v1", "Pod", namespace)[0])) == 3)
    found = {name.partition("-")[0]: at for name, at in where(cluster, namespace).items()}
    assert found == {"pinned": nodes.full, "volume": nodes.full, "web": nodes.empty}
    said = "\n".join(lines)
    assert said.count("it can run nowhere else") == 2
    cluster.delete(ObjectRef("v1", "PersistentVolume", "", namespace))


def test_pods_of_a_daemonset_stay(
    cluster: Cluster, namespace: str, nodes: Nodes, runs: Callable[..., None], manifest: Callable[..., Manifest]
) -> None:
    containers = [{"name": "main", "image": "good:1"}]
    template = {"metadata": {"labels": {"app": "every"}}, "spec": {"containers": containers}}
    spec = {"selector": {"matchLabels": {"app": "every"}}, "template": template}
    runs(manifest("DaemonSet", "every", {"spec": spec}), pods=0)
    wait(lambda: len(where(cluster, namespace)) == 2)
    before = where(cluster, namespace)
    node.cordon(cluster, nodes.full)
    node.drain(cluster, nodes.full, patience=60, progress=Progress(sink=print))
    assert where(cluster, namespace).keys() == before.keys()


def test_a_budget_that_allows_nothing_ends_it_by_name(
    cluster: Cluster, namespace: str, nodes: Nodes, runs: Callable[..., None], deployment: Callable[..., Manifest]
) -> None:
    runs(deployment("web"), pods=2)
    budget(cluster, namespace, minAvailable=2)
    node.cordon(cluster, nodes.full)
    with pytest.raises(
        Refused, match=rf"node {nodes.full} still has pods after 3 s: {namespace}/web-.*disruption budget web"
    ):
        node.drain(cluster, nodes.full, patience=3, progress=Progress(sink=print))
    assert set(where(cluster, namespace).values()) == {nodes.full}


def test_a_pod_that_nothing_would_start_again_ends_it_before_any_goes(
    cluster: Cluster,
    namespace: str,
    nodes: Nodes,
    runs: Callable[..., None],
    deployment: Callable[..., Manifest],
    manifest: Callable[..., Manifest],
) -> None:
    alone = manifest("Pod", "alone", {"spec": {"containers": [{"name": "main", "image": "good:1"}]}})
    runs(deployment("web"), alone, pods=3)
    before = where(cluster, namespace)
    node.cordon(cluster, nodes.full)
    with pytest.raises(Refused, match=f"{namespace}/alone on node {nodes.full} has no controller"):
        node.drain(cluster, nodes.full, patience=60, progress=Progress(sink=print))
    assert where(cluster, namespace) == before


@pytest.mark.parametrize("held", [True, False])
def test_it_ends_once_what_left_is_ready_elsewhere(
    cluster: Cluster,
    namespace: str,
    nodes: Nodes,
    runs: Callable[..., None],
    deployment: Callable[..., Manifest],
    held: bool,
) -> None:
    runs(deployment("web"), pods=2)
    if held:
        budget(cluster, namespace, minAvailable=1)
    node.cordon(cluster, nodes.full)
    nodes.missing = True
    what = (
        "still has pods .*: .*budget" if held else f"elsewhere in time: ReplicaSet {namespace}/web.* has 0 of 2 ready"
    )
    why = f"{what}.*[;:] container main of pod web-[^ ]* waits: ImagePullBackOff: no registry answers"
    with pytest.raises(Refused, match=why):
        node.drain(cluster, nodes.full, patience=5, progress=Progress(sink=print))
    nodes.missing = False
    node.drain(cluster, nodes.full, patience=60, progress=Progress(sink=print))
    wait(lambda: sum(map(ready, cluster.list("v1", "Pod", namespace)[0])) == 2)
    assert set(where(cluster, namespace).values()) == {nodes.empty}


def test_what_finds_no_other_node_waits_for_this_one(
    cluster: Cluster, namespace: str, nodes: Nodes, runs: Callable[..., None], deployment: Callable[..., Manifest]
) -> None:
    runs(deployment("web"), pods=2)
    nodes.crowded.add(nodes.empty)
    node.cordon(cluster, nodes.full)
    moved = node.drain(cluster, nodes.full, patience=60, progress=Progress(sink=print))
    assert [*moved.values()] == [2]
    with pytest.raises(
        Refused, match=r"is not ready in time: .* 0 of 2 ready: pod web-\S+ cannot be scheduled: no room"
    ):
        node.settle(cluster, nodes.full, moved, patience=3, progress=Progress(sink=print))
    node.uncordon(cluster, nodes.full)
    node.settle(cluster, nodes.full, moved, patience=60, progress=Progress(sink=print))
    assert set(where(cluster, namespace).values()) == {nodes.full}


def test_nobody_waits_for_what_a_silent_node_does_not_say(
    cluster: Cluster,
    namespace: str,
    nodes: Nodes,
    runs: Callable[..., None],
    deployment: Callable[..., Manifest],
    lines: list[str],
) -> None:
    runs(deployment("web"), pods=2)
    nodes.silent.add(nodes.full)
    wait(lambda: "not Ready" in next(node.status(cluster, [nodes.full])).detail)
    node.cordon(cluster, nodes.full)
    node.drain(cluster, nodes.full, patience=60, progress=Progress(sink=lines.append))
    found = cluster.list("v1", "Pod", namespace)[0]
    assert sorted((pod["spec"]["nodeName"], ready(pod)) for pod in found) == [
        *[(nodes.empty, True)] * 2,
        *[(nodes.full, False)] * 2,
    ]
    assert "\n".join(lines).count(f"node {nodes.full}: not Ready: so it says; its pods are evicted") == 1


def test_nodes_that_take_no_pods_are_told(cluster: Cluster, nodes: Nodes) -> None:
    def told(name: str) -> tuple[str, str]:
        (found,) = node.status(cluster, [name])
        return str(found.state), found.detail

    wait(lambda: told(nodes.full) == told(nodes.empty) == (ObjectState.OK, ""))
    nodes.beat(nodes.full, DiskPressure="True")
    assert told(nodes.full) == (ObjectState.UNHEALTHY, "DiskPressure: so it says")
    nodes.beat(nodes.full, DiskPressure="False")
    node.cordon(cluster, nodes.empty)
    assert told(nodes.empty) == (ObjectState.UNHEALTHY, "takes no new pods until a deploy finds its host well")
    node.uncordon(cluster, nodes.empty)
    assert told(nodes.full) == told(nodes.empty) == (ObjectState.OK, "")
    assert told("nowhere") == (ObjectState.MISSING, "")
    for ahead, said in ((-30, ""), (-300, "its clock is 5m00s behind"), (300, "its clock is 4m5"), (0, "")):
        renewed = (datetime.now(UTC) + timedelta(seconds=ahead)).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        metadata = {"name": nodes.full, "namespace": "kube-node-lease"}
        lease = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": metadata}
        cluster.apply({**lease, "spec": {"holderIdentity": nodes.full, "renewTime": renewed}})
        assert told(nodes.full)[1].startswith(said) and bool(told(nodes.full)[1]) is bool(said)


def test_a_highstate_ends_well_on_a_node_that_takes_pods(
    nodes: Nodes, apiserver: ControlPlane, repository: Path, tmp_path: Path
) -> None:
    script, kubectl = tmp_path / "node-ready", programs.compiled("kubernetes", "kubectl")
    assert kubectl
    text = (repository / "formulas/kubernetes/files/node-ready").read_text()
    script.write_text(text.replace("/etc/kubernetes/kubelet.conf", str(apiserver.kubeconfig)))
    environment = {**os.environ, "PATH": f"{tmp_path}:{kubectl.parent}:{os.environ['PATH']}"}
    # It stands in for systemd, which says which process is the kubelet.
    systemctl = tmp_path / "systemctl"

    def kubelet(process: int) -> None:
        systemctl.write_text(f"#!/bin/sh\necho {process}\n")
        systemctl.chmod(0o755)

    kubelet(1)

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = ["sh", str(script), *arguments]
        return subprocess.run(command, env=environment, capture_output=True, text=True)

    labelled = (nodes.full, "60", "role=test", "more=yes")
    assert run(*labelled).returncode == 0
    assert run("--check", *labelled).returncode == 0 and run("--check", *labelled, "none=such").returncode == 1
    nodes.beat(nodes.full, DiskPressure="True")
    assert run("--check", nodes.full, "0").returncode == 1
    full = run(nodes.full, "0")
    assert full.returncode == 1 and "DiskPressure=True so it says" in full.stderr
    nodes.beat(nodes.full, DiskPressure="False")
    assert run("--check", nodes.full, "0").returncode == 0
    # Another kubelet has begun, and has reported nothing yet; one that ended at once never does. Ages are in whole
    # seconds: the report must be older than any rounding.
    wait(lambda: nodes.quiet(nodes.full) >= timedelta(seconds=2))
    with subprocess.Popen(["sleep", "infinity"]) as another:
        kubelet(another.pid)
        assert run("--check", nodes.full, "0").returncode == 1
        another.kill()
    kubelet(0)
    assert run("--check", nodes.full, "0").returncode == 1
    kubelet(1)
    nodes.silent.add(nodes.full)
    wait(lambda: run("--check", nodes.full, "0").returncode == 1)


def test_an_administrators_cordon_stays(cluster: Cluster, nodes: Nodes) -> None:
    cluster._request(
        "PATCH",
        f"/api/v1/nodes/{nodes.full}",
        body={"spec": {"unschedulable": True}},
        content_type=_MERGE,
    )
    node.cordon(cluster, nodes.full)
    node.cordon(cluster, nodes.full)
    node.uncordon(cluster, nodes.full)
    assert unschedulable(cluster, nodes.full)


def test_a_node_that_is_not_there_is_named(cluster: Cluster) -> None:
    for call in (node.cordon, node.uncordon):
        with pytest.raises(RolloutError, match="no node nowhere"):
            call(cluster, "nowhere")
    assert cluster.get(ObjectRef("v1", "Node", "", "nowhere")) is None
