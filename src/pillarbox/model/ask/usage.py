"""Which nodes use a class, and how they come by it."""

from __future__ import annotations

from dataclasses import dataclass

from pillarbox.model.errors import ModelError
from pillarbox.model.merge.layering import Merged, MergeStep
from pillarbox.model.merge.model import Model
from pillarbox.model.read.settings import CONFIG
from pillarbox.system.errors import PillarboxError
from pillarbox.system.names import did_you_mean


@dataclass(frozen=True)
class Use:
    """One node's way to a class: the classes on the way, and the file and line that name the class.

    ``written`` is the name as it stands there, before its references are resolved.
    """

    node: str
    chain: tuple[str, ...]
    file: str
    line: int | None
    written: str


@dataclass(frozen=True)
class Usage:
    """A class and all its uses; ``errors`` are of nodes that could not be looked at."""

    name: str
    file: str
    uses: tuple[Use, ...]
    errors: tuple[PillarboxError, ...]


def usage(model: Model, name: str) -> Usage:
    """The nodes that use the class ``name``. Raises :class:`ModelError` when there is no such class."""
    file = model.sources.class_files.get(name)
    if file is None:
        raise ModelError(f"no class {name}", hint=did_you_mean(name, model.sources.class_files))
    uses: list[Use] = []
    errors: list[PillarboxError] = []
    for node in model.sources.nodes:
        try:
            merged = model.merged(node)
        except PillarboxError as error:
            errors.append(error)
            continue
        for step in merged.state.steps:
            if step.name == name:
                user, written = _entry(model, merged, step, name)
                uses.append(Use(node, step.chain, user, model.lines.class_entry(user, written), written))
    return Usage(name, file, tuple(uses), tuple(errors))


def _entry(model: Model, merged: Merged, step: MergeStep, name: str) -> tuple[str, str]:
    """The file that names the class of ``step``, and the name as it stands there."""
    choice = model.merger.choices(merged).get(name)
    if choice is not None:
        return choice.file, choice.use.name
    if step.chain:
        return model.sources.class_files[step.chain[-1]], name
    return CONFIG if any(use.name == name for use in merged.mapped) else merged.entity.file, name
