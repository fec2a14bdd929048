"""A real Kubernetes control plane on loopback: etcd, API server, controllers. No node runs; see ``kubelet``."""

from __future__ import annotations

import os
import secrets
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from pillarbox.manifests.errors import Place
from pillarbox.manifests.manifest import Manifest
from pillarbox.rollout import ApiError, Cluster, GoodStore, Keyring
from pillarbox.rollout.objects import Ref

BINARIES = ("etcd", "kube-apiserver", "kube-controller-manager")


def binaries() -> Path | None:
    """The directory with a control plane's binaries, if this machine has one."""
    candidates = [Path(os.environ["PILLARBOX_KUBERNETES_BIN"])] if "PILLARBOX_KUBERNETES_BIN" in os.environ else []
    for pattern in ("srv/kubernetes/*", "srv/kubernetes/*/bin", "var/cache/pillarbox-lab/**/bin"):
        candidates += sorted(Path("/").glob(pattern), reverse=True)
    return next((path for path in candidates if all(_find(path, name) for name in BINARIES)), None)


def _find(folder: Path, name: str) -> str | None:
    # etcd comes from Debian's etcd-server, and so may lie elsewhere than the compiled binaries.
    return shutil.which(name, path=str(folder)) or (shutil.which(name) if name == "etcd" else None)


def _port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class ControlPlane:
    """The processes, and how to stop and start the API server in the middle of a test."""

    def __init__(self, folder: Path, root: Path) -> None:
        self.root = root
        self._folder = folder
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self._token = secrets.token_hex(16)
        self._port, self._etcd, peer = _port(), _port(), _port()
        key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        (root / "sa.key").write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        (root / "tokens.csv").write_text(f'{self._token},admin,admin,"system:masters"\n')
        etcd = f"http://127.0.0.1:{self._etcd}"
        self._commands = {
            "etcd": [
                *("--data-dir", str(root / "etcd"), "--listen-client-urls", etcd, "--advertise-client-urls", etcd),
                *("--listen-peer-urls", f"http://127.0.0.1:{peer}", "--unsafe-no-fsync"),
            ],
            "kube-apiserver": [
                f"--etcd-servers={etcd}",
                f"--secure-port={self._port}",
                "--bind-address=127.0.0.1",
                "--endpoint-reconciler-type=none",
                f"--cert-dir={root / 'certs'}",
                f"--token-auth-file={root / 'tokens.csv'}",
                "--authorization-mode=Node,RBAC",
                "--service-cluster-ip-range=10.96.0.0/16",
                "--service-account-issuer=https://kubernetes.default.svc",
                f"--service-account-key-file={root / 'sa.key'}",
                f"--service-account-signing-key-file={root / 'sa.key'}",
            ],
            "kube-controller-manager": [
                f"--kubeconfig={root / 'kubeconfig'}",
                f"--service-account-private-key-file={root / 'sa.key'}",
                "--use-service-account-credentials=false",
                "--bind-address=127.0.0.1",
                f"--secure-port={_port()}",
                "--port=0",
                f"--cert-dir={root / 'certs'}",
                "--leader-elect=false",
            ],
        }

    @property
    def kubeconfig(self) -> Path:
        return self.root / "kubeconfig"

    def start(self, name: str) -> None:
        program = _find(self._folder, name)
        assert program
        arguments = list(self._commands[name])
        if name == "etcd" and "--unsafe-no-fsync" in arguments and "unsafe-no-fsync" not in _help(program):
            arguments.remove("--unsafe-no-fsync")
        with (self.root / f"{name}.log").open("ab") as log:
            self._running[name] = subprocess.Popen([program, *arguments], stdout=log, stderr=log)

    def stop(self, name: str) -> None:
        process = self._running.pop(name)
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def close(self) -> None:
        for name in reversed(BINARIES):
            if name in self._running:
                self.stop(name)

    def up(self) -> None:
        self.start("etcd")
        self.start("kube-apiserver")
        certificate = self.root / "certs" / "apiserver.crt"
        deadline = time.monotonic() + 60
        while not certificate.is_file():
            assert time.monotonic() < deadline, (self.root / "kube-apiserver.log").read_text()[-2000:]
            time.sleep(0.1)
        self.kubeconfig.write_text(
            yaml.safe_dump(
                {
                    "apiVersion": "v1",
                    "kind": "Config",
                    "current-context": "test",
                    "contexts": [{"name": "test", "context": {"cluster": "test", "user": "admin"}}],
                    "clusters": [
                        {
                            "name": "test",
                            "cluster": {
                                "server": f"https://127.0.0.1:{self._port}",
                                "certificate-authority": str(certificate),
                            },
                        }
                    ],
                    "users": [{"name": "admin", "user": {"token": self._token}}],
                }
            )
        )
        self.kubeconfig.chmod(0o600)
        self.start("kube-controller-manager")
        with Cluster(self.kubeconfig) as cluster:
            cluster.version()


def _help(program: str) -> str:
    return subprocess.run([program, "--help"], capture_output=True, text=True).stdout


@pytest.fixture(scope="session")
def apiserver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    """A running control plane; skips where the machine has no Kubernetes binaries."""
    folder = binaries()
    if folder is None:
        pytest.skip("no Kubernetes binaries here: set PILLARBOX_KUBERNETES_BIN, or make the lab, which compiles them")
    plane = ControlPlane(folder, tmp_path_factory.mktemp("kubernetes"))
    try:
        plane.up()
        yield plane
    finally:
        plane.close()


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
    while cluster.get(Ref("v1", "ServiceAccount", name, "default")) is None and time.monotonic() < deadline:
        time.sleep(0.1)
    yield name
    cluster.delete(Ref("v1", "Namespace", "", name))


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
            self.cluster._request(
                "PATCH", path, body={"status": status}, content_type="application/merge-patch+json"
            )
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
        return Manifest(f"t/{name}-{kind.lower()}.yml", obj, "t", Place("n", None), workload, depends_on)

    return build


@pytest.fixture
def deployment(manifest: Callable[..., Manifest]) -> Callable[..., Manifest]:
    def build(name: str, image: str = "good:1", replicas: int = 2, **options: Any) -> Manifest:
        container: dict[str, Any] = {"name": "main", "image": image}
        if "env_from" in options:
            container["envFrom"] = options.pop("env_from")
        body = {
            "spec": {
                "replicas": replicas,
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
