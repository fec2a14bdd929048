"""What highstates return, read as what became of their hosts."""

from __future__ import annotations

from typing import Any

import pytest

from pillarbox.pipeline.hosts import HostState
from pillarbox.salt.hosts import outcome, summary

GOOD = {"__id__": "config", "__sls__": "web", "__run_num__": 0, "result": True, "changes": {}, "comment": "as it was"}
CHANGED = {**GOOD, "__id__": "unit", "__run_num__": 1, "changes": {"diff": "+"}}
TRIED = {**CHANGED, "result": None}
BAD = {**GOOD, "__id__": "service", "__run_num__": 2, "result": False, "comment": "it does not start"}


def states(*items: dict[str, Any]) -> dict[str, Any]:
    return {f"state_|-{item['__id__']}": item for item in items}


@pytest.mark.parametrize(
    ("returned", "dry_run", "state", "why"),
    [
        (states(GOOD, CHANGED), False, HostState.APPLIED, ""),
        (states(GOOD, TRIED), True, HostState.WOULD_CHANGE, ""),
        (states(GOOD, CHANGED, BAD), False, HostState.FAILED, "service: it does not start"),
        (states(GOOD, TRIED, BAD), True, HostState.FAILED, "service: it does not start"),
        (["Rendering SLS 'base:web' failed"], False, HostState.FAILED, "Rendering SLS 'base:web' failed"),
        ("Passed invalid arguments", True, HostState.FAILED, "Passed invalid arguments"),
        ({}, False, HostState.FAILED, "there is no state to apply"),
        (False, False, HostState.FAILED, "False"),
    ],
)
def test_a_return_is_an_outcome(returned: Any, dry_run: bool, state: HostState, why: str) -> None:
    found = outcome(returned, dry_run=dry_run)
    assert (found.state, found.why) == (state, why)


def test_a_line_for_the_terminal_says_what_changed() -> None:
    returned = states(GOOD, CHANGED)
    assert summary(returned, outcome(returned, dry_run=False)) == "states applied; changes: unit"
    returned = states(GOOD, TRIED)
    assert summary(returned, outcome(returned, dry_run=True)) == "would change; changes: unit"
    assert summary(["broken"], outcome(["broken"], dry_run=False)) == "failed: broken; changes: none"
