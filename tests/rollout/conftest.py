"""A control plane and its clients; ``kubelet`` stands in for what a node reports."""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.controlplane import ControlPlane, control_plane

from pillarbox.manifests import Manifest
from pillarbox.manifests.errors import PillarPlace
from pillarbox.rollout import ApiError, Cluster, GoodStore, RolloutOutcome, roll_out
from pillarbox.rollout.objects import ObjectRef
from pillarbox.secrets import Keyring
from pillarbox.system.progress import Progress


@pytest.fixture(scope="session")
def apiserver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    """A running control plane; skips where the machine has no Kubernetes binaries."""
    with control_plane(tmp_path_factory.mktemp("kubernetes")) as plane:
        yield plane


@pytest.fixture
def cluster(apiserver: ControlPlane) -> Iterator[Cluster]:
    with Cluster(apiserver.kubeconfig) as connection:
        yield connection


@pytest.fixture
def namespace(cluster: Cluster) -> Iterator[str]:
    """A new namespace that is ready to take pods."""
    name = f"test-{secrets.token_hex(4)}"
    cluster.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
    deadline = time.monotonic() + 30
    while cluster.get(ObjectRef("v1", "ServiceAccount", name, "default")) is None and time.monotonic() < deadline:
        time.sleep(0.1)
    yield name
    cluster.delete(ObjectRef("v1", "Namespace", "", name))


class Kubelet(threading.Thread):
    """Does to pods what a node does, as far as the API shows: no container runs.

    Pods become ready; a pod whose image has ``crash`` in its name dies again and again, and one of a Job ends, badly
    with ``crash``. What containers do for real is the lab tests' business.
    """

    def __init__(self, cluster: Cluster, namespace: str) -> None:
        super().__init__(daemon=True)
        self.cluster, self.namespace = cluster, namespace
        self.stopping = threading.Event()
        self.started: list[str] = []

    def run(self) -> None:
        while not self.stopping.is_set():
            pods, version = self.cluster.list("v1", "Pod", self.namespace)
            for pod in pods:
                self.serve(pod)
            for _, pod in self.cluster.watch("v1", "Pod", self.namespace, since=version, seconds=1):
                self.serve(pod)
                if self.stopping.is_set():
                    return

    def serve(self, pod: dict[str, Any]) -> None:
        metadata, container = pod["metadata"], pod["spec"]["containers"][0]
        if metadata.get("deletionTimestamp") or (pod.get("status") or {}).get("containerStatuses"):
            return
        self.started.append(f"{metadata['name']}={container['image']}")
        bad = "crash" in container["image"]
        owners = {owner["kind"] for owner in metadata.get("ownerReferences") or ()}
        state: dict[str, Any] = {"running": {}}
        phase = "Running"
        if "Job" in owners:
            phase = "Failed" if bad else "Succeeded"
            state = {"terminated": {"exitCode": 1 if bad else 0}}
        elif bad:
            state = {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off"}}
        ready = phase == "Running" and not bad
        status = {
            "phase": phase,
            "conditions": [{"type": "Ready", "status": str(ready), "lastTransitionTime": "2020-01-01T00:00:00Z"}],
            "containerStatuses": [
                {
                    "name": container["name"],
                    "image": container["image"],
                    "imageID": "",
                    "ready": ready,
                    "restartCount": 5 if bad else 0,
                    "state": state,
                    "lastState": {"terminated": {"exitCode": 3}} if bad else {},
                }
            ],
        }
        path = f"/api/v1/namespaces/{self.namespace}/pods/{metadata['name']}/status"
        try:
            self.cluster._request("PATCH", path, body={"status": status}, content_type="application/merge-patch+json")
        except ApiError as error:
            # Pods come and go while they are looked at.
            if error.status not in (404, 409):
                raise


@pytest.fixture
def kubelet(apiserver: ControlPlane, namespace: str) -> Iterator[Kubelet]:
    with Cluster(apiserver.kubeconfig) as connection:
        thread = Kubelet(connection, namespace)
        thread.start()
        yield thread
        thread.stopping.set()
        thread.join(10)


@pytest.fixture
def store(tmp_path: Path) -> GoodStore:
    return GoodStore(tmp_path / "good")


@pytest.fixture
def keyring(tmp_path: Path) -> Keyring:
    return Keyring(tmp_path / "no-keys")


@pytest.fixture
def manifest(namespace: str) -> Callable[..., Manifest]:
    """Build a :class:`Manifest` around an object's body."""

    def build(
        kind: str, name: str, body: dict[str, Any], *, depends_on: tuple[str, ...] = (), **metadata: Any
    ) -> Manifest:
        version = {"Deployment": "apps/v1", "StatefulSet": "apps/v1", "DaemonSet": "apps/v1", "Job": "batch/v1"}
        workload = {"Job": f"job/{name}"}.get(kind, f"service/{name}") if kind in version else None
        obj = {
            "apiVersion": version.get(kind, "v1"),
            "kind": kind,
            "metadata": {"name": name, "namespace": namespace, **metadata},
            **body,
        }
        return Manifest(f"t/{name}-{kind.lower()}.yml", obj, "t", PillarPlace("n", None), workload, depends_on)

    return build


@pytest.fixture
def deployment(manifest: Callable[..., Manifest]) -> Callable[..., Manifest]:
    def build(name: str, image: str = "good:1", replicas: int | None = 2, **options: Any) -> Manifest:
        container: dict[str, Any] = {"name": "main", "image": image}
        if "env_from" in options:
            container["envFrom"] = options.pop("env_from")
        body = {
            "spec": {
                **({} if replicas is None else {"replicas": replicas}),
                "selector": {"matchLabels": {"app": name}},
                "template": {
                    "metadata": {"labels": {"app": name}},
                    "spec": {"containers": [{**container, "ports": [{"containerPort": 80}]}]},
                },
            }
        }
        return manifest("Deployment", name, body, **options)

    return build


@pytest.fixture
def job(manifest: Callable[..., Manifest]) -> Callable[..., Manifest]:
    def build(name: str, image: str = "good:1", **options: Any) -> Manifest:
        pod = {"restartPolicy": "Never", "containers": [{"name": "main", "image": image}]}
        return manifest("Job", name, {"spec": {"backoffLimit": 0, "template": {"spec": pod}}}, **options)

    return build


@pytest.fixture
def lines() -> list[str]:
    return []


@pytest.fixture
def roll(cluster: Cluster, store: GoodStore, keyring: Keyring, namespace: str, lines: list[str]) -> Any:
    def run(*manifests: Manifest, **options: Any) -> RolloutOutcome:
        options.setdefault("keyring", keyring)
        # Every test is a deployment of its own, so that none prunes another's objects.
        options.setdefault("progress", Progress(sink=lines.append))
        return roll_out(cluster, manifests, deployment=namespace, store=store, **options)

    return run
