"""Base images: one layer, a distribution release with Python and nothing else that packages do not ask for."""

from __future__ import annotations

import os
import shutil
import subprocess
import tarfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import IO

from pillarbox.images import sources
from pillarbox.images.errors import BuildError, SourceUnavailable
from pillarbox.images.spec import BASE_FILES, FINISH, TIMEOUT, BaseSpec, base_files
from pillarbox.images.stage import in_time
from pillarbox.images.store import Store
from pillarbox.model import DirectoryTree
from pillarbox.system import apt, debootstrap
from pillarbox.system.command import tail
from pillarbox.system.engine import Engine
from pillarbox.system.errors import PillarboxError

# Salt runs on it during builds, the entrypoint at every start.
PACKAGES = ("ca-certificates", "python3")
#: What an engine puts into every container, and no image needs.
_ENGINES_OWN = (".dockerenv", "etc/hostname", "etc/hosts", "etc/mtab", "etc/resolv.conf")
INSTALLED = {
    "dpkg.cfg": ("etc/dpkg/dpkg.cfg.d/pillarbox", 0o644),
    "apt.conf": ("etc/apt/apt.conf.d/pillarbox", 0o644),
    "policy-rc.d": ("usr/sbin/policy-rc.d", 0o755),
}


def labels(base: BaseSpec) -> dict[str, str]:
    """What a base image is labelled with, and found by."""
    return {"io.pillarbox.stage": "base", "io.pillarbox.base": base.name, "io.pillarbox.base-key": base.key}


def bootstrap(
    base: BaseSpec,
    model_dir: Path,
    *,
    engine: Engine,
    store: Store,
    repository: str,
    tag: str,
    timeout: float = TIMEOUT,
    say: Callable[[str], None] | None = None,
) -> str:
    """Make the image ``repository:tag`` by debootstrap, as the recipe of ``base`` says; return its id.

    Needs root: on this machine, as root, run debootstrap and the scripts of packages that a key of Debian signed. What
    the model brings runs in a container. Each line of debootstrap goes to ``say``. Raises :class:`BuildError` when
    debootstrap is missing, fails, or is not done within ``timeout`` seconds, and of it :class:`SourceUnavailable` where
    the mirror was away.
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
    packages = [*PACKAGES, *recipe.get("include", [])]
    try:
        try:
            debootstrap.bootstrap(root, mirror, packages, on_line=say, timeout=timeout)
        except PillarboxError as error:
            kind = SourceUnavailable if apt.unreachable(error.message) else BuildError
            raise kind(error.message, image=image, stage="base", hint=error.hint) from error
        files = {file.path: file.content for file in base_files(DirectoryTree(model_dir))}
        _settle(root, files)
        archive = scratch / "base.tar"
        _finish(image, root, files[FINISH], archive, engine, f"{repository}-unfinished", tag, timeout)
        with archive.open("rb") as stream:
            return engine.load_root(_blocks(stream), repository, tag, labels(base))
    finally:
        _remove(scratch)


def _settle(root: Path, files: Mapping[str, bytes]) -> None:
    """Put the base's own settings in place and remove what is the builder's or the installation's."""
    for name, (target, mode) in INSTALLED.items():
        if f"{BASE_FILES}/{name}" in files:
            (root / target).write_bytes(files[f"{BASE_FILES}/{name}"])
            (root / target).chmod(mode)
    for name in ("etc/hostname", "etc/resolv.conf", "etc/apt/sources.list"):
        (root / name).unlink(missing_ok=True)
    for name in ("run", "tmp", "debootstrap"):
        for path in (root / name).glob("*"):
            _remove(path)


def _finish(
    image: str, root: Path, script: bytes, archive: Path, engine: Engine, repository: str, tag: str, timeout: float
) -> None:
    """Run the model's ``script`` in a container of the tree ``root``; ``archive`` has what that leaves, in one layer.

    ``repository:tag`` is the name of the image in between, which goes again.
    """
    command = ["tar", "--create", "--numeric-owner", "--sort=name", "--exclude=./dev/*", "--directory", str(root), "."]
    name = f"pillarbox-base-{tag}"
    engine.remove_container(name)
    try:
        with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            unfinished = engine.load_root(_blocks(process.stdout), repository, tag, {})
        with (
            engine.container(unfinished, name, {}) as container,
            in_time(engine, container, image, "base", timeout),
        ):
            finish = ["/usr/bin/python3", "-IS", "-c", script.decode()]
            done = engine.run(container, finish, stdin=b'{"stage": "base"}')
            if done.code:
                raise BuildError(f"{FINISH} failed: {tail(done.err)}", image=image, stage="base")
            exported = archive.with_suffix(".exported")
            with exported.open("wb") as stream:
                stream.writelines(engine.export(container))
        _drop(exported, [place for place in _ENGINES_OWN if not os.path.lexists(root / place)], archive)
        exported.unlink()
    finally:
        engine.remove_image(f"{repository}:{tag}")


def _drop(source: Path, unwanted: Iterable[str], target: Path) -> None:
    """Write the archive ``source`` without the files ``unwanted`` and without devices to ``target``."""
    with tarfile.open(source) as given, tarfile.open(target, "w", format=tarfile.PAX_FORMAT) as kept:
        for entry in given:
            path = entry.name.removeprefix("./")
            if path not in unwanted and not path.startswith("dev/"):
                kept.addfile(entry, given.extractfile(entry) if entry.isreg() else None)


def _blocks(stream: IO[bytes]) -> Iterator[bytes]:
    while block := stream.read(1 << 20):
        yield block


def _remove(path: Path) -> None:
    if path.is_symlink() or path.is_file():
        path.unlink()
    elif path.exists():
        shutil.rmtree(path)
