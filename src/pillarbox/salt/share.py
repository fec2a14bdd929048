"""The job of builder minions as plain data: which minion builds which images, what it is given, what it returns."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pillarbox.images import BaseSpec, ImageSpec
from pillarbox.images.builder import Built
from pillarbox.images.plan import Results
from pillarbox.pipeline.errors import PipelineError
from pillarbox.system.errors import Interrupted, PillarboxError, Unavailable

#: What may be taken up again, as a builder returns it beside the error; a minion's return knows no classes.
_PASSING: Mapping[str, type[PillarboxError]] = {"unavailable": Unavailable, "interrupted": Interrupted}


def deal(names: Sequence[str], minions: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """``names`` dealt out to ``minions``, one after the other; a minion that gets none is left out."""
    dealt = {minion: tuple(names[place :: len(minions)]) for place, minion in enumerate(minions)}
    return {minion: share for minion, share in dealt.items() if share}


def to_data(spec: ImageSpec) -> dict[str, Any]:
    """A specification as a job's argument; it holds static pillar only, so no secret."""
    return dataclasses.asdict(spec)


def from_data(data: Mapping[str, Any]) -> ImageSpec:
    """The specification that :func:`to_data` made ``data`` of."""
    lists = {name: tuple(data[name]) for name in ("formulas", "dynamic")}
    return ImageSpec(**{**data, **lists, "base": BaseSpec(**data["base"])})


def to_return(results: Results) -> dict[str, dict[str, Any]]:
    """What a builder returns: by image, the fields of :class:`Built`, or ``{"error": text}``, with ``passing`` where
    the reason may pass."""
    return {
        **{name: dataclasses.asdict(built) for name, built in results.built.items()},
        **{name: _failure(error) for name, error in results.failed.items()},
    }


def _failure(error: PillarboxError) -> dict[str, str]:
    passing = next((kind for kind, each in _PASSING.items() if isinstance(error, each)), None)
    return {"error": str(error), **({"passing": passing} if passing else {})}


def from_return(minion: str, share: Iterable[str], returned: Any) -> Results:
    """What a minion's return says of each image of its share. A return that is no mapping is Salt's own word of what
    went wrong (an exception, a function that the minion does not have), and so that of every image."""
    built: dict[str, Built] = {}
    failed: dict[str, PillarboxError] = {}
    for name in share:
        outcome = returned.get(name) if isinstance(returned, Mapping) else {"error": str(returned)}
        if isinstance(outcome, Mapping) and "digest" in outcome:
            built[name] = Built(**outcome)
        else:
            text = outcome.get("error") if isinstance(outcome, Mapping) else outcome
            passing = outcome.get("passing") if isinstance(outcome, Mapping) else None
            kind = _PASSING.get(str(passing), PipelineError)
            failed[name] = kind(str(text or f"{minion} gave no result"))
    return Results(built, failed)
