"""Everything that is wrong with a model, found without running any of it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from pillarbox import manifests
from pillarbox.images import image_specs
from pillarbox.model import Inventory, Node
from pillarbox.pipeline.publish import extracted
from pillarbox.rollout import waves
from pillarbox.system.errors import ErrorGroup, PillarboxError, raise_all

_LABEL = r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"
_HOST = re.compile(rf"{_LABEL}(\.{_LABEL})*")


def check(model: Path) -> tuple[PillarboxError, ...]:
    """All errors of the model at ``model``; none means that it renders, its images and its manifests included.

    Errors name files relative to the model. What later steps would find is not looked for once an earlier one fails:
    it would only be the same mistake, seen from further away.
    """
    try:
        inventory = Inventory(model)
        raise_all([*_host_names(inventory.all())])
        specs = image_specs(inventory)
        waves(manifests.render(inventory, specs, {name: spec.content_key for name, spec in specs.items()}))
    except ErrorGroup as group:
        return group.errors
    except PillarboxError as error:
        return (error,)
    return ()


def _host_names(nodes: Iterable[Node]) -> Iterator[PillarboxError]:
    for node in nodes:
        salt = node.parameters.get("salt")
        if isinstance(salt, dict) and "minion" in salt and not _HOST.fullmatch(node.name):
            yield PillarboxError(
                f"{node.name!r} is no name that a host can have",
                file=node.file,
                hint="Name the file with lower case letters, digits, hyphens and dots.",
            )


def check_revision(repository: Path, revision: str) -> tuple[PillarboxError, ...]:
    """All errors of a revision, read from the repository's objects; nothing of it is trusted."""
    try:
        with extracted(repository, revision) as model:
            return check(model)
    except PillarboxError as error:
        return (error,)
