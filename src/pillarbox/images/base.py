"""Base images: one layer, a distribution release with Python and nothing else that packages do not ask for."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

from pillarbox.images import sources, tree
from pillarbox.images.errors import BuildError, SourceUnavailable
from pillarbox.images.spec import BASE_FILES, FINISH, BaseSpec, base_files
from pillarbox.images.store import Store
from pillarbox.model import DirectoryTree
from pillarbox.system import apt, debootstrap
from pillarbox.system.engine import Engine
from pillarbox.system.errors import PillarboxError

# Salt runs on it during builds, the entrypoint at every start.
PACKAGES = ("ca-certificates", "python3")
INSTALLED = {
    "dpkg.cfg": ("etc/dpkg/dpkg.cfg.d/pillarbox", 0o644),
    "apt.conf": ("etc/apt/apt.conf.d/pillarbox", 0o644),
    "policy-rc.d": ("usr/sbin/policy-rc.d", 0o755),
}


def labels(base: BaseSpec) -> dict[str, str]:
    """What a base image is labelled with, and found by."""
    return {"io.pillarbox.stage": "base", "io.pillarbox.base": base.name, "io.pillarbox.base-key": base.key}


def bootstrap(base: BaseSpec, model_dir: Path, *, engine: Engine, store: Store, repository: str, tag: str) -> str:
    """Make the image ``repository:tag`` by debootstrap, as the recipe of ``base`` says; return its id.

    Needs root. Raises :class:`BuildError` when debootstrap is missing or fails, and of
    it :class:`SourceUnavailable` where the mirror was away.
    """
    image = f"base-{base.name}"
    if os.geteuid() != 0 or not shutil.which("debootstrap"):
        raise BuildError("debootstrap is needed, and root", image=image, stage="base", hint="apt install debootstrap")
    recipe = dict(base.recipe)
    mirror = apt.mirror(sources.sources(recipe), str(recipe["suite"]))
    scratch = store.folder("base") / base.key[:32]
    _remove(scratch)
    scratch.mkdir()
    root = scratch / "root"
    try:
        try:
            debootstrap.bootstrap(root, mirror, [*PACKAGES, *recipe.get("include", [])])
        except PillarboxError as error:
            kind = SourceUnavailable if apt.unreachable(error.message) else BuildError
            raise kind(error.message, image=image, stage="base", hint=error.hint) from error
        _settle(image, root, base_files(DirectoryTree(model_dir)))
        return _import(root, engine, repository, tag, labels(base))
    finally:
        _remove(scratch)


def _settle(image: str, root: Path, files: tuple[tree.File, ...]) -> None:
    """Put the base's own settings in place and remove what is the builder's or the installation's."""
    by_path = {file.path: file.content for file in files}
    for name, (target, mode) in INSTALLED.items():
        if f"{BASE_FILES}/{name}" in by_path:
            (root / target).write_bytes(by_path[f"{BASE_FILES}/{name}"])
            (root / target).chmod(mode)
    for name in ("etc/hostname", "etc/resolv.conf", "etc/apt/sources.list"):
        (root / name).unlink(missing_ok=True)
    for name in ("run", "tmp", "debootstrap"):
        for path in (root / name).glob("*"):
            _remove(path)
    finish = ["chroot", str(root), "/usr/bin/python3", "-IS", "-c", by_path[FINISH].decode()]
    done = subprocess.run(finish, input='{"stage": "base"}', capture_output=True, text=True)
    if done.returncode:
        raise BuildError(f"{FINISH} failed: {done.stderr.strip()}", image=image, stage="base")


def _import(root: Path, engine: Engine, repository: str, tag: str, labels: dict[str, str]) -> str:
    command = ["tar", "--create", "--numeric-owner", "--sort=name", "--exclude=./dev/*", "--directory", str(root), "."]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        stream = process.stdout

        def chunks() -> Iterator[bytes]:
            while block := stream.read(1 << 20):
                yield block

        return engine.load_root(chunks(), repository, tag, labels)


def _remove(path: Path) -> None:
    if path.is_symlink() or path.is_file():
        path.unlink()
    elif path.exists():
        shutil.rmtree(path)
