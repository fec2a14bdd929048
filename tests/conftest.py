"""What tests of every room share: small models on disk, and the repository's own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def repository() -> Path:
    """The checkout under test; it is the reference deployment's model, too."""
    return ROOT


@pytest.fixture
def write_model(tmp_path: Path) -> Callable[[dict[str, str]], Path]:
    """Write ``{relative path: text}`` as a model under a temporary directory, which is returned."""

    def write(files: dict[str, str]) -> Path:
        model = tmp_path / "model"
        for folder in ("nodes", "classes"):
            (model / folder).mkdir(parents=True, exist_ok=True)
        for name, text in files.items():
            file = model / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text, encoding="utf-8")
        return model

    return write
