"""Which release of a service an object belongs to, and where it stands in the service's change of schema."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple

from pillarbox.manifests.workloads import PHASE, PHASES, RELEASE

SERVICE = "app.kubernetes.io/name"
EXPAND, CONTRACT = PHASES


class ReleaseMark(NamedTuple):
    """``phase`` is ``expand``, ``contract``, or empty for what is no step of a change of schema."""

    service: str
    phase: str
    release: str


def marked(obj: Mapping[str, object]) -> ReleaseMark | None:
    """The mark that an object carries; ``None`` for one that belongs to no release."""
    metadata = obj.get("metadata") or {}
    assert isinstance(metadata, Mapping)
    marks = {**(metadata.get("annotations") or {}), **(metadata.get("labels") or {})}
    if RELEASE not in marks or SERVICE not in marks:
        return None
    return ReleaseMark(str(marks[SERVICE]), str(marks.get(PHASE, "")), str(marks[RELEASE]))


def order(release: str) -> tuple[tuple[int, int | str], ...]:
    """Releases in time: numbers by value, words by alphabet, as OpenStack's dated and named releases run."""
    parts = re.findall(r"\d+|[a-z]+", release.lower())
    return tuple((1, int(part)) if part.isdigit() else (0, part) for part in parts)
