"""A real Kubernetes control plane on loopback: etcd, API server, controllers; no node runs."""

from __future__ import annotations

import secrets
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from tests import programs

from pillarbox.rollout import Cluster


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def folders() -> dict[str, Path]:
    """Where the binaries of etcd and of Kubernetes (``kube``) are; skips where the machine has none."""
    etcd, apiserver = programs.compiled("etcd", "etcd"), programs.compiled("kubernetes", "kube-apiserver")
    if etcd is None or apiserver is None:
        pytest.skip("no programs of Kubernetes here: set PILLARBOX_PROGRAMS, or make the lab, which compiles them")
    return {"etcd": etcd.parent, "kube": apiserver.parent}


@contextmanager
def control_plane(root: Path, *flags: str) -> Iterator[ControlPlane]:
    """A running control plane with its files in ``root``, the API server with ``flags`` besides its own; skips where
    the machine has no Kubernetes binaries."""
    plane = ControlPlane(folders(), root, flags)
    try:
        plane.up()
        yield plane
    finally:
        plane.close()


class ControlPlane:
    """The processes, and how to stop and start the API server in the middle of a test."""

    def __init__(self, folders: dict[str, Path], root: Path, flags: tuple[str, ...] = ()) -> None:
        self.root = root
        self._folders = folders
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self.token = secrets.token_hex(16)
        self._port, self._etcd, peer = free_port(), free_port(), free_port()
        key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        (root / "sa.key").write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        (root / "tokens.csv").write_text(f'{self.token},admin,admin,"system:masters"\n')
        self._commands = {
            "etcd": [
                *("--data-dir", str(root / "etcd"), "--listen-client-urls", self.etcd),
                *("--advertise-client-urls", self.etcd),
                *("--listen-peer-urls", f"http://127.0.0.1:{peer}", "--unsafe-no-fsync"),
            ],
            "kube-apiserver": [
                f"--etcd-servers={self.etcd}",
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
                *flags,
            ],
            "kube-controller-manager": [
                f"--kubeconfig={root / 'kubeconfig'}",
                f"--service-account-private-key-file={root / 'sa.key'}",
                "--use-service-account-credentials=false",
                "--bind-address=127.0.0.1",
                f"--secure-port={free_port()}",
                f"--cert-dir={root / 'certs'}",
                "--leader-elect=false",
            ],
        }

    @property
    def kubeconfig(self) -> Path:
        return self.root / "kubeconfig"

    @property
    def etcd(self) -> str:
        """The URL of etcd."""
        return f"http://127.0.0.1:{self._etcd}"

    def start(self, name: str) -> None:
        program = self._folders[name.split("-")[0]] / name.removesuffix("-2")
        arguments = self._commands[name]
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
        for name in reversed(tuple(self._running)):
            self.stop(name)

    def restart(self, name: str) -> None:
        """Stop it and start it again, until the API server answers."""
        self.stop(name)
        self.start(name)
        with Cluster(self.kubeconfig) as cluster:
            cluster.version()

    @contextmanager
    def another(self, *flags: str) -> Iterator[Path]:
        """A second API server on the same etcd, with ``flags`` besides those of the first, and its kubeconfig."""
        name, port, kubeconfig = "kube-apiserver-2", free_port(), self.root / "kubeconfig-2"
        self._commands[name] = [*self._commands["kube-apiserver"], f"--secure-port={port}", *flags]
        kubeconfig.write_text(self.kubeconfig.read_text().replace(str(self._port), str(port)))
        kubeconfig.chmod(0o600)
        self.start(name)
        try:
            with Cluster(kubeconfig) as cluster:
                cluster.version()
            yield kubeconfig
        finally:
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
                    "users": [{"name": "admin", "user": {"token": self.token}}],
                }
            )
        )
        self.kubeconfig.chmod(0o600)
        self.start("kube-controller-manager")
        with Cluster(self.kubeconfig) as cluster:
            cluster.version()
