"""Execution module of builder minions."""

from __future__ import annotations

import shutil
import tarfile
from pathlib import Path
from typing import Any

from pillarbox.system import files, locks
from pillarbox.system.errors import PillarboxError
from pillarbox.system.progress import Progress

__salt__: dict[str, Any] = {}
__opts__: dict[str, Any] = {}
__context__: dict[str, Any] = {}


def build_image(
    spec: dict[str, Any], tree: str, source: str, revision: str, tag: str = "pillarbox/build"
) -> dict[str, Any]:
    """Build one image and push it; what :func:`pillarbox.images.builder.build` returns, or ``{"error": …}``.

    ``tree`` is the revision's directory of formulas where builder and master are one machine; elsewhere it is fetched
    from ``source``. Progress goes to the master's bus under ``tag``.
    """
    from pillarbox.images.builder import build
    from pillarbox.salt.building import from_data
    from pillarbox.system.engine import Engine

    progress = Progress(sink=lambda line: _tell(tag, line))
    try:
        here = Path(tree) if Path(tree).is_dir() else _fetch(source, revision)
        built = build(from_data(spec), here, engine=Engine(), progress=progress, revision=revision)
    except PillarboxError as error:
        __context__["retcode"] = 1
        return {"error": str(error)}
    return {name: getattr(built, name) for name in built.__dataclass_fields__}


def _tell(tag: str, line: str) -> None:
    # The image's own clock says little between the lines of others: the master puts its time in front.
    __salt__["event.send"](tag, {"line": line.partition("] ")[2] or line})


def _extract(archive: tarfile.TarFile, target: Path) -> None:
    """Unpack files and directories, and nothing that leads out of ``target``; tarfile's own filters are newer than
    Debian 12's Python."""
    for member in archive:
        path = (target / member.name).resolve()
        if not (member.isfile() or member.isdir()) or not path.is_relative_to(target.resolve()):
            raise PillarboxError(f"the tree from the master holds {member.name}, which is no file or leads out of it")
        archive.extract(member, target)


def _fetch(source: str, revision: str) -> Path:
    root = Path(__opts__["cachedir"]) / "pillarbox"
    root.mkdir(parents=True, exist_ok=True)
    target = root / revision
    with locks.held(root / "lock"):
        if target.is_dir():
            return target
        packed = __salt__["cp.get_file"](source, str(root / "tree.tar.gz"))
        if not packed:
            raise PillarboxError(f"the master does not serve {source}", hint="Is the staging directory in file_roots?")
        for old in root.iterdir():
            if old.is_dir():
                shutil.rmtree(old, ignore_errors=True)
        with files.making(target, mode=0o700) as scratch, tarfile.open(packed) as archive:
            _extract(archive, scratch)
    return target
