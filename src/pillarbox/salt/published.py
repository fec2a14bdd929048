"""The published model, as the master's processes see it."""

from __future__ import annotations

import logging
from pathlib import Path

from pillarbox.model import Inventory

log = logging.getLogger(__name__)

_latest: tuple[Path, Inventory] | None = None


def inventory(model: str | Path) -> Inventory | None:
    """The model under ``model``; a published revision, which never changes, is kept until the next is published.

    ``model`` that is a symbolic link leads to a revision's own directory; any other directory may change at any time
    and is read again. ``None`` before the first deploy, when the directory of published revisions has no link yet.
    """
    global _latest
    link = Path(model)
    if link.parent.is_dir() and not link.is_symlink() and not link.exists():
        log.warning("pillarbox: no revision is served yet: there is no %s", link)
        return None
    target = link.resolve()
    if not link.is_symlink():
        return Inventory(target)
    if _latest is None or _latest[0] != target:
        _latest = (target, Inventory(target))
    return _latest[1]
