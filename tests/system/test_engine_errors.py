"""What an engine says, as an error: which of it passes by itself."""

from __future__ import annotations

import docker.errors
import pytest

from pillarbox.system.engine import EngineError, EngineUnavailable, translated


@pytest.mark.parametrize(
    ("said", "passes"),
    [
        ("No such exec instance: 16322bc6", True),
        ("dial tcp 127.0.0.1:5000: connect: connection refused", True),
        ("No such image: none", False),
    ],
)
def test_what_passes_by_itself(said: str, passes: bool) -> None:
    with pytest.raises(EngineError, match=said) as raised, translated("running python3"):
        raise docker.errors.NotFound("404 Client Error", explanation=said)
    assert isinstance(raised.value, EngineUnavailable) == passes
