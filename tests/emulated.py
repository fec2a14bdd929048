"""A server of a test that has a kernel of its own: Debian's, with its modules, control groups of version 2, a clock.

QEMU emulates it, so it needs nothing of this machine's kernel, and is several times slower. It is at a bridge of
another machine of the test, and ends with the test.
"""

from __future__ import annotations

import shlex
import shutil
import subprocess
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests import programs
from tests.machines import Machine, up
from tests.servers import NETWORK, debian

from pillarbox.lab import digest, wheels
from pillarbox.lab import settings as lab_settings
from pillarbox.system import files, locks

ROOT = Path(__file__).resolve().parent.parent
KERNEL = ("linux-image-cloud-amd64", "initramfs-tools", "kmod", "procps")

# In a system's directory, with this checkout and directories of wheels: by name, what there is to do.
_INSIDE = """
set -eu
mount -t proc proc "$1/proc"
mount --bind /dev "$1/dev"
mount -t tmpfs none "$1/mnt"
mkdir "$1/mnt/ci" "$1/mnt/wheels"
mount --bind "$CHECKOUT/ci" "$1/mnt/ci"
mount --bind "$WHEELS" "$1/mnt/wheels"
exec chroot "$1" sh -euc "$2"
"""
_INSTALL = """
apt-get -qq update
apt-get -qq install --no-install-recommends -y {packages}
apt-get clean
systemctl --quiet enable systemd-networkd ssh
/mnt/ci/bootstrap install --no-index --find-links /mnt/wheels {required}
"""
_PILLARBOX = "/mnt/ci/bootstrap install --no-index --no-deps /mnt/wheels/*.whl"


class Server(Machine):
    """An emulated server that runs. ``ssh`` is the command that logs in as root."""

    python, formulas = "/opt/salt/bin/python", Path("/srv/formulas")

    def __init__(self, name: str, ssh: Iterable[str]) -> None:
        self.name, self.ssh = name, [*ssh]

    def shell(self, script: str) -> list[str]:
        return [*self.ssh, shlex.join(["sh", "-euc", script])]


def installed(suite: str, *packages: str) -> Path:
    """The tree of a release with a kernel, packages, and Salt as every server gets it; made on first use, which takes
    minutes."""
    required = wheels.requirements(ROOT)
    key = digest.of_text(suite, *packages, *required, (ROOT / "ci" / "bootstrap").read_text())
    tree = programs.CACHE / f"emulated-{suite}-{key}"
    if not tree.is_dir():
        for old in programs.CACHE.glob(f"emulated-{suite}-*"):
            shutil.rmtree(old)
        with files.making(tree) as made:
            subprocess.run(["cp", "-a", "--reflink=auto", f"{debian(suite)}/.", made], check=True)
            shutil.copy("/etc/resolv.conf", made / "etc" / "resolv.conf")
            script = _INSTALL.format(packages=" ".join([*KERNEL, *packages]), required=shlex.join(required))
            inside(made, script, _wheelhouse())
    return tree


def inside(root: Path, script: str, directory: Path) -> None:
    """Run a shell script in a system's directory, with wheels; it must succeed."""
    done = subprocess.run(
        ["unshare", "--mount", "--pid", "--fork", "--kill-child", "sh", "-c", _INSIDE, "sh", root, script],
        env={
            "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "DEBIAN_FRONTEND": "noninteractive",
            "CHECKOUT": str(ROOT),
            "WHEELS": str(directory),
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-5000:]


def _wheelhouse() -> Path:
    """Wheels of everything that Pillarbox needs, as a lab makes them."""
    settings = lab_settings.load()
    with locks.held(settings.cache / "lock"):
        return wheels.dependencies(settings, print)


def _wheel() -> Path:
    """The directory with this checkout's own wheel."""
    settings = lab_settings.load()
    with locks.held(settings.cache / "lock"):
        return wheels.project(settings, wheels.dependencies(settings, print)).parent


@contextmanager
def server(
    scratch: Path,
    name: str,
    address: str,
    *,
    tree: Path,
    given: Mapping[str, Path],
    at: Machine,
    bridge: str,
    gateway: str,
    disk: str = "8G",
    memory: int = 3072,
) -> Iterator[Server]:
    """A server that boots ``tree``, at a bridge of the machine ``at``; ``given`` has, by its paths, the files and
    directories of this machine that it has copies of. Needs root."""
    if shutil.which("qemu-system-x86_64") is None or shutil.which("mke2fs") is None:
        pytest.skip("needs QEMU and mke2fs: make long-test installs them")
    scratch.mkdir()
    root, image, key = scratch / "root", scratch / "disk", scratch / "key"
    subprocess.run(["cp", "-a", "--reflink=auto", tree, root], check=True)
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
    for place, path in given.items():
        target = root / place.lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        subprocess.run(["cp", "-a", path, target], check=True)
    inside(root, _PILLARBOX, _wheel())
    shutil.copytree(ROOT / "formulas", root / "srv" / "formulas")
    (root / "root" / ".ssh").mkdir(mode=0o700, exist_ok=True)
    shutil.copy(key.with_suffix(".pub"), root / "root" / ".ssh" / "authorized_keys")
    (root / "etc" / "hostname").write_text(f"{name}\n")
    (root / "etc" / "hosts").write_text(f"127.0.0.1 localhost\n{address} {name}\n")
    (root / "etc" / "systemd" / "network" / "lan.network").write_text(NETWORK.format(address=address, gateway=gateway))
    subprocess.run(["mke2fs", "-q", "-F", "-t", "ext4", "-d", root, image, disk], check=True)
    kernel, initrd = (next((root / "boot").glob(f"{each}-*")) for each in ("vmlinuz", "initrd.img"))
    network = ["nsenter", f"--net=/proc/{at.pid}/ns/net"]
    for command in (f"tuntap add {name} mode tap", f"link set {name} up master {bridge}"):
        subprocess.run([*network, "ip", *command.split()], check=True)
    qemu = [
        *("qemu-system-x86_64", "-accel", "tcg,thread=multi", "-cpu", "max", "-smp", "2", "-m", str(memory)),
        *("-kernel", str(kernel), "-initrd", str(initrd)),
        *("-append", "root=/dev/vda rw console=ttyS0 net.ifnames=0 panic=10"),
        *("-drive", f"file={image},format=raw,if=virtio,cache=unsafe"),
        *("-netdev", f"tap,id=lan,ifname={name},script=no,downscript=no", "-device", "virtio-net-pci,netdev=lan"),
        *("-display", "none", "-monitor", "none", "-serial", f"file:{scratch / 'console'}"),
    ]
    options = ("StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null", "LogLevel=ERROR", "BatchMode=yes")
    how = [f"-o{each}" for each in (*options, "ConnectTimeout=5")]
    ssh = [*network, "ssh", "-i", str(key), *how, f"root@{address}"]
    running = subprocess.Popen(["setpriv", "--pdeathsig", "KILL", *network, *qemu], start_new_session=True)
    try:
        found = Server(name, ssh)
        up(found, patience=600)
        yield found
    finally:
        running.kill()
        running.wait()
