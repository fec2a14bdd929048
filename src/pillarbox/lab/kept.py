"""What hosts made and share, kept in the machine's cache: compiling it again takes minutes.

A directory in a shared volume that holds a ``SHA256SUMS`` is finished and says what belongs to it; such a directory is
kept under its volume's and its own name, and a new lab's volume gets it back.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Collection, Mapping
from pathlib import Path

from docker.models.containers import Container

from pillarbox.lab import hosts, shell
from pillarbox.lab.settings import LabSettings
from pillarbox.system import files

_SUMS = "SHA256SUMS"


def restore(settings: LabSettings, containers: Collection[Container], say: Callable[[str], None]) -> None:
    """Fill the volumes that hosts share with what the cache has of them and they lack."""
    for volume, (host, path) in _shared(settings, containers).items():
        for archive in sorted((settings.cache / "volumes" / volume).glob("*.tar")):
            name = archive.name.removesuffix(".tar")
            if _complete(host, f"{path}/{name}"):
                continue
            say(f"{volume}: {name} from the cache")
            with archive.open("rb") as data:
                host.put_archive(path, data)
            if not _complete(host, f"{path}/{name}"):
                # Damaged, or not what it says: the hosts make it again.
                shell.run(host, ["rm", "-rf", f"{path}/{name}"])
                archive.unlink()


def save(settings: LabSettings, containers: Collection[Container], say: Callable[[str], None]) -> None:
    """Keep what is finished in the volumes that hosts share and not in the cache yet."""
    for volume, (host, path) in _shared(settings, containers).items():
        find = ["find", path, "-mindepth", "2", "-maxdepth", "2", "-name", _SUMS, "-printf", "%h\\n"]
        for directory in shell.run(host, find).out.split():
            target = settings.cache / "volumes" / volume / f"{Path(directory).name}.tar"
            if target.is_file() or not _complete(host, directory):
                continue
            say(f"{volume}: keeping {Path(directory).name} in the cache")
            target.parent.mkdir(parents=True, exist_ok=True)
            data, _ = host.get_archive(directory)
            with files.replacing(target, mode=0o600) as stream:
                for chunk in data:
                    stream.write(chunk)


def _shared(settings: LabSettings, containers: Collection[Container]) -> Mapping[str, tuple[Container, str]]:
    """Each volume that running hosts share, by its name in the model, with one of them and where it has it."""
    prefix = hosts.volume_prefix(settings, hosts.SHARED)
    for container in containers:
        container.reload()
    return {
        mount["Name"].removeprefix(prefix): (container, mount["Destination"])
        for container in containers
        if container.status == "running"
        for mount in container.attrs["Mounts"]
        if mount.get("Name", "").startswith(prefix)
    }


def _complete(container: Container, directory: str) -> bool:
    command = f"cd {shlex.quote(directory)} && sha256sum --check --quiet --strict {_SUMS}"
    return shell.run(container, ["sh", "-c", command], check=False).code == 0
