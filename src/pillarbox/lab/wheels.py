"""Wheels for the hosts: fetched and built once with the machine's own pip, installed on hosts without a network."""

from __future__ import annotations

import configparser
import importlib.metadata
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from pillarbox.lab import copy, digest
from pillarbox.lab.errors import LabError
from pillarbox.lab.settings import LabSettings
from pillarbox.system import files
from pillarbox.system.command import run

# The hosts' Python: Debian bookworm's.
PYTHON = (3, 11)
# What a source tree needs to become a wheel; kept with the others so that the project's own is built offline.
_BUILD = ("setuptools>=68", "wheel")
#: Seconds that a wheel of the project stays.
_KEEP = 86400


def requirements(checkout: Path) -> tuple[str, ...]:
    """What the project needs at run time, as its metadata says."""
    metadata = configparser.ConfigParser()
    metadata.read(checkout / "setup.cfg", encoding="utf-8")
    lines = metadata["options"]["install_requires"].splitlines()
    return tuple(line.strip() for line in lines if line.strip())


def key(settings: LabSettings) -> str:
    return digest.of_text(*requirements(settings.checkout), *_BUILD, str(PYTHON))


def clean(settings: LabSettings) -> None:
    """Delete what a run that was cut off left among the wheels. For the holder of the cache's lock."""
    files.sweep(settings.cache / "wheels")


def dependencies(settings: LabSettings, say: Callable[[str], None]) -> Path:
    """The directory with a wheel of everything the project needs, made on first use.

    Raises :class:`LabError` when this Python cannot make wheels for the hosts, and with pip's last lines when it fails.
    """
    if sys.version_info[:2] != PYTHON:
        found = ".".join(map(str, sys.version_info[:2]))
        raise LabError(
            f"the hosts run Python {PYTHON[0]}.{PYTHON[1]}, this is Python {found}: wheels would not fit",
            hint="Make .venv with Debian's own python3.11.",
        )
    directory = settings.cache / "wheels" / key(settings)
    if directory.is_dir():
        return directory
    # A directory with the final name is complete: a run that is cut off leaves none.
    with files.making(directory) as scratch:
        count = 0

        def follow(line: str) -> None:
            nonlocal count
            if line.startswith(("Collecting", "Downloading", "  Downloading")):
                count += 1
                if count % 20 == 0:
                    say(f"wheels: {line.split()[1].split('/')[-1]} ({count} looked at)")

        say("wheels: resolving what the project needs")
        # The versions that are installed here fit together; finding that out again takes pip a minute.
        constraints = scratch / "constraints.txt"
        constraints.write_text("".join(f"{name}=={version}\n" for name, version in _installed()))
        command = [*_pip_wheel(settings), "--wheel-dir", str(scratch), "--constraint", str(constraints)]
        run([*command, *_BUILD, *requirements(settings.checkout)], log=settings.root / "pip.log", on_line=follow)
        constraints.unlink()
    return directory


def _pip_wheel(settings: LabSettings) -> list[str]:
    return [sys.executable, "-m", "pip", "wheel", "--cache-dir", str(settings.cache / "pip")]


def _installed() -> list[tuple[str, str]]:
    """Names and versions of what this Python has. Its own tools may differ from what wheels are built with."""
    skipped = ("pillarbox", "pip", "setuptools", "wheel")
    found = ((each.metadata["Name"], each.version) for each in importlib.metadata.distributions())
    return sorted({(name, version) for name, version in found if name and name.lower() not in skipped})


def project(settings: LabSettings, wheelhouse: Path) -> Path:
    """The project's own wheel, rebuilt when its sources have changed. For the holder of the cache's lock."""
    checkout = settings.checkout
    sources = copy.listed(checkout, ("src", "setup.cfg", "pyproject.toml", "README.md"))
    directory = settings.cache / "wheels" / f"project-{digest.of_files(checkout, sources)}"
    if not directory.is_dir():
        with files.making(directory) as out, tempfile.TemporaryDirectory() as scratch:
            # In a copy: setuptools leaves build/ behind, and the checkout is the user's.
            tree = Path(scratch, "tree")
            for source in sources:
                target = tree / source.relative_to(checkout)
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(source, target)
            command = [*_pip_wheel(settings), "--no-deps", "--no-index", "--find-links", str(wheelhouse)]
            run([*command, "--wheel-dir", str(out), str(tree)], log=settings.root / "pip.log")
        for old in directory.parent.glob("project-*"):
            # Another lab, of another checkout, may be about to install its own.
            if old.stat().st_mtime < time.time() - _KEEP:
                shutil.rmtree(old, ignore_errors=True)
    return next(directory.glob("*.whl"))
