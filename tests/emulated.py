"""A server of a test that has a kernel of its own: Debian's, with its modules, control groups of version 2, a clock.

QEMU emulates it, so it needs nothing of this machine's kernel, and is several times slower. It is at a bridge of
another machine of the test, and ends with the test.
"""

from __future__ import annotations

import shlex
import shutil
import subprocess
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests import programs
from tests.machines import Machine, up
from tests.servers import debian

from pillarbox.lab import digest, wheels
from pillarbox.system import files

ROOT = Path(__file__).resolve().parent.parent
KERNEL = ("linux-image-cloud-amd64", "initramfs-tools", "kmod", "procps")
_NETWORK = "[Match]\nName=eth0\n\n[Network]\nAddress={address}/24\nGateway={gateway}\n"

# In a new system's directory: its packages, and Salt as every server gets it.
_INSTALL = """
set -eu
cd "$1"; shift
mount -t proc proc proc
mount --bind /dev dev
mount -t tmpfs none run
mkdir -p mnt/ci
mount --bind "$CHECKOUT/ci" mnt/ci
cp /etc/resolv.conf etc/resolv.conf
chroot . apt-get -qq update
chroot . apt-get -qq install --no-install-recommends -y $PACKAGES
chroot . /mnt/ci/bootstrap install "$@"
umount mnt/ci
rmdir mnt/ci
chroot . apt-get clean
chroot . systemctl --quiet enable systemd-networkd ssh
"""


class Server(Machine):
    """An emulated server that runs. ``ssh`` is the command that logs in as root."""

    python, formulas = "/opt/salt/bin/python", Path("/srv/formulas")

    def __init__(self, name: str, ssh: Iterable[str]) -> None:
        self.name, self.ssh = name, [*ssh]

    def shell(self, script: str) -> list[str]:
        return [*self.ssh, shlex.join(["sh", "-euc", script])]


def installed(suite: str, *packages: str) -> Path:
    """The tree of a release with a kernel, packages and Salt; made on first use, which takes minutes."""
    required = wheels.requirements(ROOT)
    key = digest.of_text(suite, *packages, *required, (ROOT / "ci" / "bootstrap").read_text())
    tree = programs.CACHE / f"emulated-{suite}-{key}"
    if not tree.is_dir():
        for old in programs.CACHE.glob(f"emulated-{suite}-*"):
            shutil.rmtree(old)
        with files.making(tree) as made:
            subprocess.run(["cp", "-a", "--reflink=auto", f"{debian(suite)}/.", made], check=True)
            alone = ["unshare", "--mount", "--pid", "--fork", "--kill-child"]
            done = subprocess.run(
                [*alone, "sh", "-c", _INSTALL, "sh", made, *required],
                env={
                    "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
                    "DEBIAN_FRONTEND": "noninteractive",
                    "CHECKOUT": str(ROOT),
                    "PACKAGES": " ".join([*KERNEL, *packages]),
                },
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
            assert done.returncode == 0, done.stdout[-5000:]
    return tree


@contextmanager
def server(
    scratch: Path,
    name: str,
    address: str,
    *,
    tree: Path,
    given: Iterable[Path] = (),
    at: Machine,
    bridge: str,
    gateway: str,
    disk: str = "8G",
    memory: int = 2048,
) -> Iterator[Server]:
    """A server that boots ``tree``, at a bridge of the machine ``at``; ``given`` are files and directories of this
    machine that it has copies of. Needs root."""
    if shutil.which("qemu-system-x86_64") is None or shutil.which("mke2fs") is None:
        pytest.skip("needs QEMU: apt-get install --no-install-recommends qemu-system-x86")
    scratch.mkdir()
    root, image, key = scratch / "root", scratch / "disk", scratch / "key"
    subprocess.run(["cp", "-a", "--reflink=auto", tree, root], check=True)
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
    for path in given:
        target = root / path.relative_to("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        subprocess.run(["cp", "-a", path, target], check=True)
    shutil.copytree(ROOT / "formulas", root / "srv" / "formulas")
    (root / "root" / ".ssh").mkdir(mode=0o700, exist_ok=True)
    shutil.copy(key.with_suffix(".pub"), root / "root" / ".ssh" / "authorized_keys")
    (root / "etc" / "hostname").write_text(f"{name}\n")
    (root / "etc" / "hosts").write_text(f"127.0.0.1 localhost\n{address} {name}\n")
    (root / "etc" / "systemd" / "network" / "lan.network").write_text(_NETWORK.format(address=address, gateway=gateway))
    subprocess.run(["mke2fs", "-q", "-t", "ext4", "-d", root, image, disk], check=True)
    kernel, initrd = (next((root / "boot").glob(f"{each}-*")) for each in ("vmlinuz", "initrd.img"))
    inside = ["nsenter", f"--net=/proc/{at.pid}/ns/net"]
    for command in (f"tuntap add {name} mode tap", f"link set {name} up master {bridge}"):
        subprocess.run([*inside, "ip", *command.split()], check=True)
    qemu = [
        *("qemu-system-x86_64", "-accel", "tcg,thread=multi", "-cpu", "max", "-smp", "2", "-m", str(memory)),
        *("-kernel", str(kernel), "-initrd", str(initrd)),
        *("-append", "root=/dev/vda rw console=ttyS0 net.ifnames=0 quiet"),
        *("-drive", f"file={image},format=raw,if=virtio,cache=unsafe"),
        *("-netdev", f"tap,id=lan,ifname={name},script=no,downscript=no", "-device", "virtio-net-pci,netdev=lan"),
        *("-display", "none", "-monitor", "none", "-serial", f"file:{scratch / 'console'}"),
    ]
    options = ("StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null", "LogLevel=ERROR", "BatchMode=yes")
    ssh = [*inside, "ssh", "-i", str(key), *(f"-o{each}" for each in (*options, "ConnectTimeout=5")), f"root@{address}"]
    running = subprocess.Popen(["setpriv", "--pdeathsig", "KILL", *inside, *qemu], start_new_session=True)
    try:
        found = Server(name, ssh)
        up(found, patience=600)
        yield found
    finally:
        running.kill()
        running.wait()
