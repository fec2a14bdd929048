"""The published model, as the master's processes see it."""

from __future__ import annotations

from pathlib import Path

from pillarbox.model import Inventory

_latest: tuple[Path, Inventory] | None = None


def inventory(model: str | Path) -> Inventory:
    """The model under ``model``; a published revision, which never changes, is kept until the next is published.

    ``model`` that is a symbolic link leads to a revision's own directory; any other directory may change at any time
    and is read again.
    """
    global _latest
    link = Path(model)
    target = link.resolve()
    if not link.is_symlink():
        return Inventory(target)
    if _latest is None or _latest[0] != target:
        _latest = (target, Inventory(target))
    return _latest[1]
