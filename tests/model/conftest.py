"""Small models on disk for the tests of the model."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from tests.model.reference import write

from pillarbox.model import Inventory


@pytest.fixture
def make(tmp_path: Path) -> Callable[..., Inventory]:
    """An inventory of the files that are given, without a disk cache."""

    def inventory(files: dict[str, object]) -> Inventory:
        return Inventory(write(tmp_path / "model", files), cache=None)

    return inventory
