"""Everything that is wrong with a model, found without running any of it."""

from __future__ import annotations

from pathlib import Path

from pillarbox.revision import Revision
from pillarbox.system.errors import ErrorGroup, PillarboxError


def check(model: Path) -> tuple[PillarboxError, ...]:
    """All errors of the model at ``model``; none means that it renders, its images and its manifests included."""
    try:
        Revision.read(model)
    except PillarboxError as error:
        return each(error)
    return ()


def each(error: PillarboxError) -> tuple[PillarboxError, ...]:
    """The errors that ``error`` stands for, one or several."""
    return error.errors if isinstance(error, ErrorGroup) else (error,)
