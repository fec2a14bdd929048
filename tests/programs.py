"""Programs that tests run: the machine's own, Debian's unpacked without installing them, or the lab's compiled ones."""

from __future__ import annotations

import os
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Iterable
from pathlib import Path

from pillarbox.system import files

CACHE = Path(os.environ.get("PILLARBOX_TEST_CACHE") or "/var/cache/pillarbox-lab/programs")
_COMPILED = ("kube-apiserver", "kube-controller-manager")


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


def debian_root(name: str, *packages: str) -> Path | None:
    """A directory into which Debian's ``packages`` are unpacked together, cached as ``name``; nothing as above."""
    root = CACHE / name
    return root if root.is_dir() or _unpack(packages, root) else None


def _unpack(packages: Iterable[str], root: Path) -> bool:
    """Unpack packages as ``root``; another process may be doing the same."""
    try:
        root.parent.mkdir(parents=True, exist_ok=True)
    except OSError:
        return False
    with tempfile.TemporaryDirectory() as archives:
        # apt wants to download as its own user, who may not write here; and it may never have read its lists.
        download = ["apt-get", "-qq", "-o", "APT::Sandbox::User=root", "download", *packages]
        if subprocess.run(download, cwd=archives, capture_output=True).returncode != 0:
            subprocess.run(["apt-get", "-qq", "update"], capture_output=True, check=False)
            if subprocess.run(download, cwd=archives, capture_output=True).returncode != 0:
                return False
        with files.making(root) as scratch:
            for archive in Path(archives).glob("*.deb"):
                subprocess.run(["dpkg", "-x", archive, scratch], check=True)
    return True


def kubernetes() -> Path | None:
    """The directory with a control plane's compiled programs: $PILLARBOX_KUBERNETES_BIN, or what a lab compiled."""
    if "PILLARBOX_KUBERNETES_BIN" in os.environ:
        return Path(os.environ["PILLARBOX_KUBERNETES_BIN"])
    lab = Path(os.environ.get("PILLARBOX_LAB_CACHE") or "/var/cache/pillarbox-lab")
    for archive in sorted((lab / "volumes" / "kubernetes").glob("*.tar"), reverse=True):
        target = CACHE / f"kubernetes-{archive.stem}"
        if not target.is_dir():
            target.parent.mkdir(parents=True, exist_ok=True)
            with files.making(target) as scratch, tarfile.open(archive) as opened:
                opened.extractall(scratch)
        for program in target.rglob(_COMPILED[0]):
            if all((program.parent / name).is_file() for name in _COMPILED):
                return program.parent
    return None
