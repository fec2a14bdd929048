"""Everything that is wrong with a model, found without running any of it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from pillarbox import manifests, pki
from pillarbox.pipeline.enforcement import unenforced
from pillarbox.pipeline.versions import refuse_apart
from pillarbox.revision import Revision
from pillarbox.system.errors import ErrorGroup, PillarboxError


def check(model: Path) -> tuple[tuple[PillarboxError, ...], tuple[PillarboxError, ...]]:
    """All errors of the model at ``model``, and what is doubtful where there are none: no errors mean that it renders,
    its images and its manifests included, and that its hosts' versions go together."""
    try:
        revision = Revision.read(model)
    except PillarboxError as error:
        return each(error), ()
    errors = wrong(revision)
    return errors, () if errors else doubts(revision)


def wrong(revision: Revision) -> tuple[PillarboxError, ...]:
    """What is wrong with a revision that renders: values that a schema of a formula refuses, versions of hosts that do
    not go together, and certificates that nobody would issue."""
    hint = "A comment `# lint: ignore[schema]` in that line lets it in."
    try:
        found = revision.inventory.refused(revision.nodes.values())
    except PillarboxError as error:
        return each(error)
    values = (PillarboxError(one.message, file=one.file, line=one.line or None, hint=hint) for one in found)
    return (*values, *_apart(revision), *_requests(revision))


def _apart(revision: Revision) -> tuple[PillarboxError, ...]:
    try:
        refuse_apart(revision)
    except PillarboxError as error:
        return each(error)
    return ()


def _requests(revision: Revision) -> Iterator[PillarboxError]:
    """Certificates and keys that hosts ask for, and would not get."""
    for name, node in revision.hosts.items():
        for path, text in pki.mistakes(node.parameters):
            file, line = revision.inventory.place(name, path)
            yield PillarboxError(f"host {name}: {text}", file=file, line=line)


def doubts(revision: Revision) -> tuple[PillarboxError, ...]:
    """What is doubtful about a revision that renders: keys that no schema of a formula knows, which change nothing,
    NetworkPolicies that nothing enforces, and versions of Kubernetes whose API no manifest can be checked against."""
    try:
        found = revision.inventory.unknown_keys(revision.nodes.values())
    except PillarboxError as error:
        return each(error)
    keys = (PillarboxError(one.message, file=one.file, line=one.line or None) for one in found)
    return (*keys, *unenforced(revision), *manifests.doubts(revision.manifests))


def each(error: PillarboxError) -> tuple[PillarboxError, ...]:
    """The errors that ``error`` stands for, one or several."""
    return error.errors if isinstance(error, ErrorGroup) else (error,)
