"""The lab's hosts: containers with systemd, one for each host of the layout."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable
from dataclasses import dataclass

import docker
from docker.models.containers import Container

from pillarbox.lab import capabilities, digest
from pillarbox.lab.engine import LabEngine
from pillarbox.lab.errors import LabError
from pillarbox.lab.layout import LabHost, Layout
from pillarbox.lab.settings import LabSettings
from pillarbox.system import waiting

_SHAPE = "pillarbox.lab.shape"
_HOST = "pillarbox.lab.host"
#: In the names of volumes that several hosts have, where otherwise a host's name stands.
SHARED = "shared"
_BOOT_SECONDS = 90
# What systemd says of itself when its first jobs are done.
_BOOTED = ("running", "degraded")


@dataclass(frozen=True)
class Found:
    """A host's container, and whether it still is what the model says."""

    container: Container
    created: bool
    drifted: bool


def container_name(settings: LabSettings, host: str) -> str:
    return f"{settings.name}-{host}"


def find(settings: LabSettings, engine: LabEngine, host: str) -> Container | None:
    try:
        return engine.client.containers.get(container_name(settings, host))
    except docker.errors.NotFound:
        return None


def running(settings: LabSettings, engine: LabEngine, host: str) -> Container:
    """The container of ``host``. Raises :class:`LabError` when it does not run."""
    container = find(settings, engine, host)
    if container is None or container.status != "running":
        state = "is missing" if container is None else f"is {container.status}"
        raise LabError(f"host {host} {state}", hint="`make lab` repairs the lab.")
    return container


def ensure(settings: LabSettings, engine: LabEngine, layout: Layout, host: LabHost, image: str) -> Found:
    """The running container of ``host``, created or started if it is not.

    A container whose address or volumes in the model have changed is left as it is and reported as drifted: making it
    again is for the user to ask for.
    """
    container = find(settings, engine, host.name)
    if container is not None and container.labels.get("pillarbox.lab") != settings.name:
        raise LabError(
            f"container {container.name} is not the lab's", hint="Remove it, or give the lab another name: --name."
        )
    created = container is None
    if container is None:
        container = _create(settings, engine, layout, host, image)
    if container.status == "paused":
        container.unpause()
    elif container.status != "running":
        try:
            container.start()
        except docker.errors.APIError as error:
            raise LabError(
                f"host {host.name} does not start: {error.explanation or error}",
                hint=_in_its_place(settings, engine, host),
            ) from error
    return Found(container, created, container.labels.get(_SHAPE) != shape(layout, host))


def await_booted(host: str, container: Container) -> None:
    """Wait until systemd in the host is up, be it after the engine started it again. Raises :class:`LabError` with what
    the host printed when it is not."""
    state = "starting"

    def settled() -> bool:
        nonlocal state
        container.reload()
        if container.status not in ("running", "created", "restarting"):
            return True
        # `--wait` is of no use before systemd's socket is there. A container that ended since has nothing to say.
        with contextlib.suppress(docker.errors.APIError):
            _, output = container.exec_run(["systemctl", "is-system-running"])
            state = output.decode(errors="replace").strip().splitlines()[-1] if output else "starting"
        return state in _BOOTED

    waiting.until(settled, f"host {host} to boot", patience=_BOOT_SECONDS)
    if state not in _BOOTED:
        log = container.logs(tail=15).decode(errors="replace")
        raise LabError(f"host {host} does not come up: container {container.status}, systemd {state}\n{log}")


def remove(engine: LabEngine, container: Container) -> None:
    with contextlib.suppress(docker.errors.NotFound):
        container.remove(force=True, v=True)


def of_lab(settings: LabSettings, engine: LabEngine) -> list[Container]:
    """Every container of this lab, whatever the model says now."""
    return list(engine.client.containers.list(all=True, filters={"label": settings.label}, ignore_removed=True))


def host_of(container: Container) -> str:
    return str(container.labels.get(_HOST, container.name))


def volume_name(settings: LabSettings, host: LabHost | None, volume: str) -> str:
    """The engine's name of a volume: of one host, or of all that share it."""
    return f"{volume_prefix(settings, host.name if host else SHARED)}{volume}"


def volume_prefix(settings: LabSettings, host: str) -> str:
    return f"{settings.name}-{host}-"


def shape(layout: Layout, host: LabHost) -> str:
    """A key of what only a new container can change."""
    return digest.of_text(
        layout.network.name, str(layout.network.subnet), str(host.address), json.dumps([host.volumes, host.shared])
    )


def _create(settings: LabSettings, engine: LabEngine, layout: Layout, host: LabHost, image: str) -> Container:
    labels = {"pillarbox.lab": settings.name, _HOST: host.name, _SHAPE: shape(layout, host)}
    volumes = [(volume_name(settings, host, name), path) for name, path in host.volumes]
    volumes += [(volume_name(settings, None, name), path) for name, path in host.shared]
    for name, _ in volumes:
        engine.client.volumes.create(name, labels={"pillarbox.lab": settings.name})
    api = engine.client.api
    granted = list(capabilities.of_machine())
    while True:
        config = api.create_host_config(
            binds=[f"{name}:{path}" for name, path in volumes],
            # What a machine has of its own: nothing here is kept over a restart.
            tmpfs={"/run": "exec,mode=755", "/tmp": "exec,mode=1777"},
            cap_add=granted,
            security_opt=["seccomp=unconfined", "apparmor=unconfined"],
            device_cgroup_rules=["a *:* rwm"],
            cgroupns="private",
            restart_policy={"Name": "unless-stopped"},
            extra_hosts=_names(layout.hosts),
        )
        try:
            created = api.create_container(
                image,
                name=container_name(settings, host.name),
                hostname=host.name,
                labels=labels,
                stop_signal="SIGRTMIN+3",
                host_config=config,
                networking_config=api.create_networking_config(
                    {layout.network.name: api.create_endpoint_config(ipv4_address=str(host.address))}
                ),
            )
        except docker.errors.APIError as error:
            # An engine refuses capabilities that are newer than it is.
            unknown = capabilities.refused(str(error.explanation or error))
            if unknown not in granted:
                raise LabError(f"host {host.name} cannot be made: {error.explanation or error}") from error
            granted.remove(unknown)
            continue
        return engine.client.containers.get(created["Id"])


def _in_its_place(settings: LabSettings, engine: LabEngine, host: LabHost) -> str | None:
    """What to do about another host of the lab that has the address of ``host``."""
    for other in of_lab(settings, engine):
        addresses = {each["IPAddress"] for each in other.attrs["NetworkSettings"]["Networks"].values()}
        if str(host.address) in addresses:
            return (
                f"{other.name} has its address, {host.address}. If the model no longer has that host, "
                f"`pillarbox lab --name {settings.name} remove {host_of(other)}` takes it away."
            )
    return None


def _names(hosts: Iterable[LabHost]) -> dict[str, str]:
    return {host.name: str(host.address) for host in hosts}
