"""What hosts made and share, kept in the machine's cache: compiling it again takes minutes.

A directory in a shared volume that holds a ``SHA256SUMS`` is finished and says what belongs to it; such a directory is
kept under its volume's and its own name, and a new lab's volume gets it back.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable
from pathlib import Path

from docker.models.containers import Container

from pillarbox.lab import shell
from pillarbox.lab.layout import Layout
from pillarbox.lab.settings import LabSettings
from pillarbox.system import files

_SUMS = "SHA256SUMS"


def restore(settings: LabSettings, layout: Layout, hosts: dict[str, Container], say: Callable[[str], None]) -> None:
    """Fill shared volumes with what the cache has of them and they lack."""
    for volume, (host, path) in _shared(layout).items():
        for archive in sorted((settings.cache / "volumes" / volume).glob("*.tar")):
            name = archive.name.removesuffix(".tar")
            if _complete(hosts[host], f"{path}/{name}"):
                continue
            say(f"{volume}: {name} from the cache")
            with archive.open("rb") as data:
                hosts[host].put_archive(path, data)
            if not _complete(hosts[host], f"{path}/{name}"):
                # Damaged, or not what it says: the hosts make it again.
                shell.run(hosts[host], ["rm", "-rf", f"{path}/{name}"])
                archive.unlink()


def save(settings: LabSettings, layout: Layout, hosts: dict[str, Container], say: Callable[[str], None]) -> None:
    """Keep what is finished in shared volumes and not in the cache yet."""
    for volume, (host, path) in _shared(layout).items():
        find = ["find", path, "-mindepth", "2", "-maxdepth", "2", "-name", _SUMS, "-printf", "%h\\n"]
        for directory in shell.run(hosts[host], find).out.split():
            target = settings.cache / "volumes" / volume / f"{Path(directory).name}.tar"
            if target.is_file() or not _complete(hosts[host], directory):
                continue
            say(f"{volume}: keeping {Path(directory).name} in the cache")
            target.parent.mkdir(parents=True, exist_ok=True)
            data, _ = hosts[host].get_archive(directory)
            with files.replacing(target, mode=0o600) as stream:
                for chunk in data:
                    stream.write(chunk)


def _shared(layout: Layout) -> dict[str, tuple[str, str]]:
    """Each shared volume with one host that has it and where."""
    return {name: (host.name, path) for host in reversed(layout.hosts) for name, path in host.shared}


def _complete(container: Container, directory: str) -> bool:
    command = f"cd {shlex.quote(directory)} && sha256sum --check --quiet --strict {_SUMS}"
    return shell.run(container, ["sh", "-c", command], check=False).code == 0
