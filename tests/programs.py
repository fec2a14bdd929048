"""Programs that tests run: the machine's own, Debian's unpacked without installing them, or the lab's compiled ones."""

from __future__ import annotations

import os
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Iterable
from pathlib import Path

from tests import turns

from pillarbox.lab import settings as lab_settings
from pillarbox.system import files

CACHE = Path(os.environ.get("PILLARBOX_TEST_CACHE") or "/var/cache/pillarbox-lab/programs")


def debian(package: str, name: str) -> Path | None:
    """The program ``name``: from the PATH, else out of Debian's ``package``, which is unpacked in a cache and not
    installed. Nothing where apt has no such package or the cache cannot be written."""
    found = shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
    if found:
        return Path(found)
    root = CACHE / package
    if not root.is_dir() and not _unpack([package], root):
        return None
    return next((path for folder in ("bin", "sbin") for path in (root / "usr" / folder).glob(name)), None)


def debian_root(*packages: str) -> Path | None:
    """A directory into which Debian's ``packages`` are unpacked together, which is kept; nothing as above."""
    root = CACHE / "+".join(packages)
    return root if root.is_dir() or _unpack(packages, root) else None


def _unpack(packages: Iterable[str], root: Path) -> bool:
    """Unpack packages as ``root``; another process may be doing the same."""
    try:
        root.parent.mkdir(parents=True, exist_ok=True)
    except OSError:
        return False
    with tempfile.TemporaryDirectory() as archives:
        if not _fetched("download", *packages, into=archives):
            return False
        with files.making(root) as scratch:
            for archive in Path(archives).glob("*.deb"):
                subprocess.run(["dpkg", "-x", archive, scratch], check=True)
    return True


def _fetched(*command: str, into: str | Path) -> bool:
    """Whether apt could fetch packages into a directory by this command, with new lists where that fails at first."""
    # apt wants to download as its own user, who may not write there; and it may never have read its lists.
    fetch = ["apt-get", "-qq", "-o", "APT::Sandbox::User=root", "-o", f"Dir::Cache::archives={into}", *command]

    def done() -> bool:
        return subprocess.run(fetch, cwd=into, capture_output=True).returncode == 0

    if done():
        return True
    subprocess.run(["apt-get", "-qq", "update"], capture_output=True, check=False)
    return done()


# What it writes, and files that it takes away as overlayfs writes that down.
_INSTALL = """
set -eu
mount -t tmpfs none "$1"
cd "$1"
mkdir upper work root
mount -t overlay overlay -o lowerdir=/,upperdir=upper,workdir=work root
mount -t proc proc root/proc
mount --bind /dev root/dev
mount -t tmpfs none root/run
mount --bind "$2" root/mnt
if ls root/mnt/*.deb > /dev/null 2>&1; then chroot root sh -c 'dpkg --install /mnt/*.deb' >&2; fi
cp -a upper/. "$3"
"""


def debian_layer(name: str, scratch: Path, *packages: str) -> Path | None:
    """A directory with what is different on this machine where Debian's ``packages`` are installed; nothing where apt
    has no such packages. What apt fetches is cached as ``name``. Needs root."""
    archives = CACHE / name
    if not archives.is_dir():
        archives.parent.mkdir(parents=True, exist_ok=True)
        with files.making(archives) as fetched:
            (fetched / "partial").mkdir()
            if not _fetched("-y", "--no-install-recommends", "--download-only", "install", *packages, into=fetched):
                return None
            (fetched / "partial").rmdir()
    mount, layer = scratch / "install", scratch / "layer"
    mount.mkdir()
    layer.mkdir()
    alone = ["unshare", "--mount", "--pid", "--fork", "--kill-child"]
    done = subprocess.run(
        [*alone, "sh", "-c", _INSTALL, "sh", mount, archives, layer],
        env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return layer


def compiled(name: str, command: str) -> Path | None:
    """A command of a compiled program, of the newest version that there is: beside it lie the program's others. Nothing
    where there is none; from where, and what a test needs for it, as below."""
    found = [each / command for each in directories(name) if (each / command).is_file()]
    # Of one version, what was compiled last.
    return max(found, key=lambda file: (numbers(version(file.parent)), file.stat().st_mtime), default=None)


def directories(name: str) -> list[Path]:
    """The directories of a program that labs or tests compiled, and those in $PILLARBOX_PROGRAMS, which is like a
    host's `program:source:directory`; where another process of the tests makes a lab, once that is up. A test that
    calls this has the fixture ``apiserver`` or the marker ``compiled``, and so comes late."""
    with turns.held("programs", shared=True):
        pass
    found = [_unpacked(file) for file in sorted(kept().glob(f"{name}-*.tar"))]
    if given := os.environ.get("PILLARBOX_PROGRAMS"):
        found += Path(given).glob(f"{name}-*")
    return [each for each in found if (each / "SHA256SUMS").is_file()]


def kept() -> Path:
    """Where this machine keeps the programs that were compiled, as archives: labs look there, too."""
    return lab_settings.load().cache / "volumes" / "programs"


def version(directory: Path) -> str:
    """The version of the compiled program whose directory this is."""
    return directory.name.split("-")[-2]


def numbers(version: str) -> list[int]:
    """A version such that a newer one is more."""
    return [int(each) for each in version.split(".")]


def _unpacked(archive: Path) -> Path:
    """The directory that an archive of the lab's cache holds, which has its name."""
    target = CACHE / "compiled" / archive.stem
    if not target.is_dir():
        target.parent.mkdir(parents=True, exist_ok=True)
        with files.making(target) as scratch, tarfile.open(archive) as opened:
            opened.extractall(scratch)
    return target / archive.stem
