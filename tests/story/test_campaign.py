"""A short run of the campaign; ``python -m tests.story.campaign`` is the long one."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.story.campaign import Campaign
from tests.story.lab import Lab
from tests.story.test_story import clone

__all__ = ["clone"]

pytestmark = pytest.mark.lab


# A registry that is killed under a push, a deploy whose own process is, and a master with no room to stage a build.
@pytest.mark.parametrize("seed", [4, 11, 20])
def test_what_is_struck_at_random_ends_in_the_right_state(lab: Lab, clone: Path, seed: int) -> None:
    done = Campaign(lab, clone).round(seed)
    print(f"seed {done.seed}: {done.text}, {done.seconds:.0f} s")
    assert not done.wrong, f"{done.text}: {done.wrong}"
