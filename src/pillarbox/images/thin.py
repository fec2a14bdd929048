"""Salt for the containers of builds: pure Python, compiled once for the Python that it meets there, and that with it.

Compiling Salt takes twice as long as applying a small SLS with it, so each engine keeps it in a volume, one for each
base image, that builds mount read-only.
"""

from __future__ import annotations

import importlib.metadata
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Callable
from pathlib import Path

from pillarbox.images.errors import StoreError
from pillarbox.images.store import Store
from pillarbox.system import files
from pillarbox.system.command import tail
from pillarbox.system.engine import Engine, EngineError

FORMAT = 2
#: Where containers have Salt.
PLACE = "/run/pillarbox-salt"
#: Python that finds everything compiled; images themselves hold little of that. An option and no variable of the
#: environment: the Pythons that Salt starts, dpkg's among them, must compile for the image and not for us.
PYTHON = ("python3", "-X", f"pycache_prefix={PLACE}/compiled")
_PREFIX = "pillarbox-salt-"
# Salt extensions stay out: one of them is Pillarbox, which no container needs to see. In a process of its own, for
# importing Salt takes long and changes how the process imports everything else.
MAKE = "import sys, salt.utils.thin as t; print(t.gen_thin(sys.argv[1], absonly=True, exclude_saltexts=True))"


def volume(store: Store, engine: Engine, base: Callable[[], str], key: str) -> str:
    """The name of the engine's volume with Salt, for containers of images on the base image with that ``key``.

    It is filled when it is missing, in a container of the base image itself, whose id ``base`` gives: other images
    share it, so what one of them brings along must not write it. One that was left half filled, by a kill or a full
    disk, is made again.
    """
    name = f"{_PREFIX}{_version()}-{key[:16]}"
    # A volume of the same name on another engine, or made by somebody else, has another birth.
    marker = store.folder("salt") / f"{name}.volume"
    with store.lock(name):
        born = engine.volume(name)
        if born is None or not marker.is_file() or marker.read_text(encoding="utf-8") != born:
            engine.remove_volume(name)
            engine.make_volume(name)
            _fill(store, engine, base(), name)
            files.write(marker, engine.volume(name) or "")
            for other in engine.volumes(_PREFIX):
                if not other.startswith(f"{_PREFIX}{_version()}-"):
                    engine.remove_volume(other)
    return name


def _fill(store: Store, engine: Engine, image: str, name: str) -> None:
    salt, filler = archive(store), f"{name}-filling"
    engine.remove_container(filler)
    with engine.container(image, filler, {}, volumes={name: (PLACE, "rw")}) as container:
        done = engine.run(container, ["tar", "-x", "-C", PLACE, "-f", "-"], stdin=salt)
        if done.code:
            raise EngineError(f"cannot unpack Salt for the containers: {tail(done.err)}")
        # Salt carries a few files that no Python of today compiles, and never imports them.
        where = "import sysconfig; print(sysconfig.get_path('stdlib'))"
        library = engine.run(container, ["python3", "-c", where]).out.strip()
        engine.run(container, [*PYTHON, "-m", "compileall", "-q", PLACE, library])


def archive(store: Store) -> bytes:
    """Salt of this environment as a tar archive with ``salt-call`` on top, made once and then kept in the store."""
    file = store.folder("salt") / f"salt-{_version()}.tar"
    if not file.is_file():
        with store.lock("salt"):
            if not file.is_file():
                _make(file)
    return file.read_bytes()


def _version() -> str:
    python = ".".join(str(part) for part in sys.version_info[:2])
    return f"{importlib.metadata.version('salt')}-{python}-{FORMAT}"


def _make(file: Path) -> None:
    with tempfile.TemporaryDirectory(dir=file.parent) as work:
        done = subprocess.run([sys.executable, "-c", MAKE, work], capture_output=True, text=True)
        if done.returncode:
            raise StoreError(f"cannot pack Salt for the containers: {done.stderr.strip()}")
        thin = done.stdout.splitlines()[-1]
        with (
            files.replacing(file) as stream,
            tarfile.open(thin) as source,
            tarfile.open(fileobj=stream, mode="w") as target,
        ):
            for entry in source:
                if entry.isfile() and not entry.name.endswith(".pyc"):
                    entry.uid = entry.gid = 0
                    entry.uname = entry.gname = ""
                    target.addfile(entry, source.extractfile(entry))
