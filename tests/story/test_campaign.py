"""A short run of the campaign; ``python -m tests.story.campaign`` is the long one."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.story.campaign import Campaign
from tests.story.lab import Lab
from tests.story.test_story import clone

__all__ = ["clone"]

pytestmark = pytest.mark.lab


# A deploy whose own process is killed, and no room for the engine; no room for records.
@pytest.mark.long
@pytest.mark.parametrize("seed", [101, 3])
def test_what_is_struck_at_random_ends_in_the_right_state(lab: Lab, clone: Path, seed: int) -> None:
    planned, struck = Campaign(lab, clone).round(seed)
    print(f"seed {seed}: {planned}")
    assert len(struck) == len(planned.faults)
    assert [text for record in struck for text in record["wrong"]] == [], str(planned)
