"""Salt to carry into a container: pure Python that runs on whatever Python 3 it meets there."""

from __future__ import annotations

import importlib.metadata
import os
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

from pillarbox.images.store import Store
from pillarbox.system.engine import EngineError

FORMAT = 1
# Salt extensions stay out: one of them is Pillarbox, which no container needs to see. In a process of its own, for
# importing Salt takes long and changes how the process imports everything else.
MAKE = "import sys, salt.utils.thin as t; print(t.gen_thin(sys.argv[1], absonly=True, exclude_saltexts=True))"


def archive(store: Store) -> bytes:
    """Salt of this environment as a tar archive with ``salt-call`` on top, made once and then kept in the store."""
    python = ".".join(str(part) for part in sys.version_info[:2])
    file = store.folder("salt") / f"salt-{importlib.metadata.version('salt')}-{python}-{FORMAT}.tar"
    if not file.is_file():
        with store.lock("salt"):
            if not file.is_file():
                _make(file)
    return file.read_bytes()


def _make(file: Path) -> None:
    with tempfile.TemporaryDirectory(dir=file.parent) as work:
        done = subprocess.run([sys.executable, "-c", MAKE, work], capture_output=True, text=True)
        if done.returncode:
            raise EngineError(f"cannot pack Salt for the containers: {done.stderr.strip()}")
        thin = done.stdout.splitlines()[-1]
        partial = Path(work) / "thin.tar"
        with tarfile.open(thin) as source, tarfile.open(partial, "w") as target:
            for entry in source:
                if entry.isfile() and not entry.name.endswith(".pyc"):
                    entry.uid = entry.gid = 0
                    entry.uname = entry.gname = ""
                    target.addfile(entry, source.extractfile(entry))
        os.replace(partial, file)
