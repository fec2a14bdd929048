"""Pods without Kubernetes: what manifests say is to run, run by a container engine, one replica of each.

All containers share one network, as containers of a pod do, so every Service is at 127.0.0.1. Secrets have values of
the tests' own; volumes are directories.
"""

from __future__ import annotations

import base64
import os
from collections.abc import Iterable, Mapping
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Any

import docker
import requests
from docker.models.containers import Container

from pillarbox.manifests import Manifest
from pillarbox.system import waiting

#: How long a task, or a server's way to its readiness, may take in seconds.
PATIENCE = 300


class Pods:
    """The containers of one set of manifests; ``folder`` is where their volumes lie. Raises AssertionError, with the
    last lines of a container's log, for one that does not do what it is for."""

    def __init__(self, manifests: Iterable[Manifest], folder: Path, client: docker.DockerClient) -> None:
        self.manifests = [manifest for manifest in manifests if manifest.kind != "Namespace"]
        self.folder = folder
        self.client = client
        self.containers: list[Container] = []
        #: Which processes of which image were run: (image, process).
        self.ran: set[tuple[str, str]] = set()
        self.secrets = {
            manifest.name: {key: _secret() for key in manifest.object.get("stringData", {})}
            for manifest in self.manifests
            if manifest.kind == "Secret"
        }
        self.environment = dict(self._services())

    def run(self) -> None:
        """Run everything in the order that the manifests ask for."""
        units = {manifest.unit: manifest for manifest in self.manifests if manifest.unit and _template(manifest)}
        order = TopologicalSorter({unit: set(units[unit].depends_on) & units.keys() for unit in units})
        for unit in order.static_order():
            self._run(units[unit])

    def get(self, port: int, path: str) -> requests.Response:
        """Ask a server for a page."""
        network = self.containers[0]
        network.reload()
        (address,) = (each["IPAddress"] for each in network.attrs["NetworkSettings"]["Networks"].values())
        return requests.get(f"http://{address}:{port}{path}", timeout=30, proxies={"http": ""})

    def close(self) -> None:
        """Remove every container."""
        for container in reversed(self.containers):
            container.remove(force=True, v=True)

    def _run(self, manifest: Manifest) -> None:
        spec = _template(manifest)
        (container,) = spec["containers"]
        command = container["command"]
        if not self.containers:
            # Whose network all others share.
            self._create(container["image"], ["sleep", "infinity"]).start()
        started = self._create(
            container["image"],
            command,
            network_mode=f"container:{self.containers[0].id}",
            environment=self._environment(container),
            user=self._user(container),
            volumes=self._volumes(manifest, spec, container),
        )
        self.ran.add((container["image"], command[1]))
        started.start()
        if manifest.kind == "Job":
            code = started.wait(timeout=PATIENCE)["StatusCode"]
            assert code == 0, f"{manifest.unit} exited {code}:\n{_log(started)}"
            return
        probe = container["readinessProbe"]["exec"]["command"]
        what = f"{manifest.unit} to be ready"
        assert waiting.until(lambda: self._ready(started, probe), what, patience=PATIENCE), (
            f"{manifest.unit}: {started.exec_run(probe).output.decode()}\n{_log(started)}"
        )

    def _ready(self, container: Container, probe: list[str]) -> bool:
        container.reload()
        assert container.status == "running", f"{container.attrs['Config']['Image']} ended:\n{_log(container)}"
        return container.exec_run(probe).exit_code == 0

    def _create(self, image: str, command: list[str], **options: Any) -> Container:
        created: Container = self.client.containers.create(image, command, **options)
        self.containers.append(created)
        return created

    def _services(self) -> Iterable[tuple[str, str]]:
        for manifest in self.manifests:
            if manifest.kind == "Service":
                name = manifest.name.upper().replace("-", "_")
                yield f"{name}_SERVICE_HOST", "127.0.0.1"
                yield f"{name}_SERVICE_PORT", str(manifest.object["spec"]["ports"][0]["port"])

    def _environment(self, container: Mapping[str, Any]) -> dict[str, str]:
        own = {}
        for variable in container.get("env", ()):
            if "value" in variable:
                own[variable["name"]] = variable["value"]
            else:
                wanted = variable["valueFrom"]["secretKeyRef"]
                own[variable["name"]] = self.secrets[wanted["name"]][wanted["key"]]
        return {**self.environment, **own}

    @staticmethod
    def _user(container: Mapping[str, Any]) -> str:
        context = container.get("securityContext", {})
        return f"{context['runAsUser']}:{context['runAsGroup']}" if "runAsUser" in context else ""

    def _volumes(self, manifest: Manifest, spec: Mapping[str, Any], container: Mapping[str, Any]) -> list[str]:
        group = spec.get("securityContext", {}).get("fsGroup", 0)
        sources = {}
        for volume in spec.get("volumes", ()):
            if "secret" in volume:
                sources[volume["name"]] = self._secret_volume(volume["secret"], group)
            elif "persistentVolumeClaim" in volume:
                sources[volume["name"]] = self._directory(volume["persistentVolumeClaim"]["claimName"], group)
            else:
                assert "emptyDir" in volume, f"{manifest.unit} has a volume of a kind that these pods do not know"
                sources[volume["name"]] = self._directory(f"{manifest.name}-{volume['name']}", group)
        return [
            f"{sources[mount['name']]}:{mount['mountPath']}{':ro' if mount.get('readOnly') else ''}"
            for mount in container.get("volumeMounts", ())
        ]

    def _directory(self, name: str, group: int) -> Path:
        path = self.folder / name
        path.mkdir(exist_ok=True)
        os.chown(path, 0, group)
        path.chmod(0o2775 if group else 0o755)
        return path

    def _secret_volume(self, volume: Mapping[str, Any], group: int) -> Path:
        path = self._directory(volume["secretName"], group)
        for key, value in self.secrets[volume["secretName"]].items():
            file = path / key
            file.write_text(value)
            os.chown(file, 0, group)
            file.chmod(volume["defaultMode"])
        return path


def _template(manifest: Manifest) -> dict[str, Any]:
    """What a workload's pods are to be; nothing for other objects."""
    spec: dict[str, Any] = manifest.object.get("spec", {}).get("template", {}).get("spec", {})
    return spec


def _secret() -> str:
    """A value that is good as a password and as a Fernet key."""
    return base64.urlsafe_b64encode(os.urandom(32)).decode()


def _log(container: Container) -> str:
    log: bytes = container.logs(tail=30)
    return log.decode("utf-8", "replace")
