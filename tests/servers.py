"""Servers of a test: Debian as debootstrap makes it, booted by systemd, on a network that reaches the world.

Before anybody works on one it has what an installation leaves: a name, an address, root's way in, and this machine's
mirrors, proxies and authorities.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from tests.machines import Machine, machines, up
from tests.programs import CACHE

from pillarbox.lab import firewall, image
from pillarbox.lab import machine as this_machine
from pillarbox.lab import settings as lab_settings
from pillarbox.system import apt, debootstrap, files

#: What an installation has besides the smallest set of packages, before somebody can use it over a network.
PACKAGES = ("systemd", "systemd-sysv", "dbus", "iproute2", "openssh-server", "git", "ca-certificates")
NETWORK = "[Match]\nName=eth0\n\n[Network]\nAddress={address}/24\nGateway={gateway}\n"


@dataclass(frozen=True)
class Lan:
    """A network: the interface of this machine that is its router, and the first three numbers of its addresses."""

    bridge: str
    prefix: str

    @property
    def router(self) -> str:
        return f"{self.prefix}.1"


@contextmanager
def servers(scratch: Path, lan: Lan, given: Mapping[str, tuple[str, str]]) -> Iterator[dict[str, Machine]]:
    """Servers by their names; ``given`` has the release and the address of each. Needs root and the world."""
    trees = {name: scratch / name for name in given}
    hosts = "127.0.0.1 localhost\n" + "".join(f"{address} {name}\n" for name, (_, address) in given.items())
    for name, (suite, address) in given.items():
        subprocess.run(["cp", "-a", "--reflink=auto", debian(suite), trees[name]], check=True)
        etc = trees[name] / "etc"
        (etc / "hosts").write_text(hosts)
        (etc / "resolv.conf").write_text(Path("/etc/resolv.conf").read_text())
        (etc / "systemd" / "network" / "lan.network").write_text(NETWORK.format(address=address, gateway=lan.router))
        subprocess.run(["chroot", trees[name], "systemctl", "--quiet", "enable", "systemd-networkd"], check=True)
    with _routed(scratch, lan), machines(scratch, *given, trees=trees) as found:
        for number, machine in enumerate(found):
            machine.plug("eth0", lan.bridge, f"{lan.bridge}-{number}")
        for machine in found:
            # Modules are this machine's kernel's, which may have none to load.
            up(machine, patience=180, without=["systemd-modules-load.service"])
        yield dict(zip(given, found, strict=True))


def shell(
    machine: Machine, script: str, *, data: bytes | None = None, check: bool = False
) -> subprocess.CompletedProcess[str]:
    """A shell script that root runs at home on a server; what it prints is all in ``stdout``."""
    path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    command = [*machine.enter, "env", "-i", "HOME=/root", f"PATH={path}", "bash", "-c", f"cd /root\n{script}"]
    done = subprocess.run(command, input=data or b"", stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    found = subprocess.CompletedProcess(command, done.returncode, done.stdout.decode(errors="replace"))
    assert not check or found.returncode == 0, f"{machine.name}: {script}\n{found.stdout}"
    return found


def debian(suite: str) -> Path:
    """The tree of a release as debootstrap makes it, which reaches what this machine does; made on first use."""
    tree = CACHE / f"server-{suite}"
    if not tree.is_dir():
        tree.parent.mkdir(parents=True, exist_ok=True)
        sources = apt.sources(suite)
        with files.making(tree) as made:
            debootstrap.bootstrap(made, apt.mirror(sources, suite), PACKAGES)
            image.configure(made, sources)
            # pip's way to its index and the authorities that it believes.
            if (conf := Path("/etc/pip.conf")).is_file():
                shutil.copy(conf, made / "etc" / "pip.conf")
            made.chmod(0o755)
    return tree


@contextmanager
def _routed(scratch: Path, lan: Lan) -> Iterator[None]:
    """A bridge whose network is let out of this machine, until the end. Kernel settings are put back then, as after a
    lab: no lab may come or go meanwhile."""
    settings = replace(lab_settings.load(), name=f"tests-{lan.bridge}", root=scratch)
    this_machine.record(settings)
    try:
        subprocess.run(["ip", "link", "add", lan.bridge, "up", "type", "bridge"], check=True)
        subprocess.run(["ip", "address", "add", f"{lan.router}/24", "dev", lan.bridge], check=True)
        this_machine.prepare()
        firewall.open_for(settings, lan.bridge, f"{lan.prefix}.0/24")
        yield
    finally:
        firewall.close(settings)
        subprocess.run(["ip", "link", "delete", lan.bridge], check=False)
        this_machine.restore(settings)
