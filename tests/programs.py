"""Programs that tests run: the machine's own, Debian's unpacked without installing them, or the lab's compiled ones."""

from __future__ import annotations

import os
import shutil
import subprocess
import tarfile
from collections.abc import Iterable
from pathlib import Path

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
    scratch = root.with_name(f".{root.name}.{os.getpid()}")
    try:
        scratch.mkdir(parents=True)
    except OSError:
        return False
    try:
        # apt wants to download as its own user, who may not write here; and it may never have read its lists.
        download = ["apt-get", "-qq", "-o", "APT::Sandbox::User=root", "download", *packages]
        if subprocess.run(download, cwd=scratch, capture_output=True).returncode != 0:
            subprocess.run(["apt-get", "-qq", "update"], capture_output=True, check=False)
            if subprocess.run(download, cwd=scratch, capture_output=True).returncode != 0:
                return False
        for archive in scratch.glob("*.deb"):
            subprocess.run(["dpkg", "-x", archive, scratch / "root"], check=True)
        (scratch / "root").rename(root)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return True


def kubernetes() -> Path | None:
    """The directory with a control plane's compiled programs: $PILLARBOX_KUBERNETES_BIN, or what a lab compiled."""
    if "PILLARBOX_KUBERNETES_BIN" in os.environ:
        return Path(os.environ["PILLARBOX_KUBERNETES_BIN"])
    lab = Path(os.environ.get("PILLARBOX_LAB_CACHE") or "/var/cache/pillarbox-lab")
    for archive in sorted((lab / "volumes" / "kubernetes").glob("*.tar"), reverse=True):
        target = CACHE / f"kubernetes-{archive.stem}"
        if not target.is_dir():
            scratch = target.with_name(f".{target.name}.{os.getpid()}")
            scratch.mkdir(parents=True)
            with tarfile.open(archive) as opened:
                opened.extractall(scratch)
            scratch.rename(target)
        for program in target.rglob(_COMPILED[0]):
            if all((program.parent / name).is_file() for name in _COMPILED):
                return program.parent
    return None
