"""Which nodes use a class, and how they come by it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pillarbox.model.errors import ModelError
from pillarbox.system.errors import PillarboxError

if TYPE_CHECKING:
    from pillarbox.model.merge.engine import Engine


@dataclass(frozen=True)
class Use:
    """One node's way to a class: the classes on the way, and the file and line that name the class."""

    node: str
    chain: tuple[str, ...]
    file: str
    line: int | None


@dataclass(frozen=True)
class Usage:
    """A class and all its uses; ``errors`` are of nodes that could not be looked at."""

    name: str
    file: str
    uses: tuple[Use, ...]
    errors: tuple[PillarboxError, ...]


def usage(engine: Engine, name: str) -> Usage:
    """The nodes that use the class ``name``. Raises :class:`ModelError` when there is no such class."""
    from pillarbox.model.merge.engine import nearest

    file = engine.class_files.get(name)
    if file is None:
        raise ModelError(f"no class {name}", hint=nearest(name, list(engine.class_files)))
    uses: list[Use] = []
    errors: list[PillarboxError] = []
    for node in engine.nodes:
        try:
            merged = engine.merged(node)
        except PillarboxError as error:
            errors.append(error)
            continue
        for step in merged.state.steps:
            if step.name == name:
                user = engine.class_files[step.chain[-1]] if step.chain else merged.entity.file
                uses.append(Use(node, step.chain, user, _line(engine, user, name)))
    return Usage(name, file, tuple(uses), tuple(errors))


def _line(engine: Engine, file: str, name: str) -> int | None:
    marks = engine.lines.marks(file)
    return marks.class_line(name) if marks else None
