"""Salt to carry into a container: pure Python that runs on whatever Python 3 it meets there."""

from __future__ import annotations

import os
import sys
import tarfile
import tempfile
from pathlib import Path

import salt.utils.thin
import salt.version

from pillarbox.images.store import Store

FORMAT = 1


def archive(store: Store) -> bytes:
    """Salt of this environment as a tar archive with ``salt-call`` on top, made once and then kept in the store."""
    python = ".".join(str(part) for part in sys.version_info[:2])
    file = store.folder("salt") / f"salt-{salt.version.__version__}-{python}-{FORMAT}.tar"
    if not file.is_file():
        with store.lock("salt"):
            if not file.is_file():
                _make(file)
    return file.read_bytes()


def _make(file: Path) -> None:
    with tempfile.TemporaryDirectory(dir=file.parent) as work:
        # Salt extensions stay out: one of them is Pillarbox, which no container needs to see.
        thin = salt.utils.thin.gen_thin(work, absonly=True, exclude_saltexts=True)
        partial = Path(work) / "thin.tar"
        with tarfile.open(thin) as source, tarfile.open(partial, "w") as target:
            for entry in source:
                if entry.isfile() and not entry.name.endswith(".pyc"):
                    entry.uid = entry.gid = 0
                    entry.uname = entry.gname = ""
                    target.addfile(entry, source.extractfile(entry))
        os.replace(partial, file)
