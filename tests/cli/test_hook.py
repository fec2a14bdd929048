"""The hook ends in bounded time, whatever is pushed."""

from __future__ import annotations

import re

import pytest

from pillarbox.cli.hook import _within
from pillarbox.system.errors import PillarboxError


def test_an_expression_that_never_ends_is_refused() -> None:
    with pytest.raises(PillarboxError, match="not rendered within 1 seconds"), _within(1):
        re.match("(a+)+$", "a" * 60 + "b")
