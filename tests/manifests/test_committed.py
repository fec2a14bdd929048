"""The reference deployment's manifests, against the schemas of the newest Kubernetes, whose API versions they have."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

Validate = Callable[[dict[str, Any]], Any]


def test_committed_manifests_validate(repository: Path, newest_kubernetes: Validate) -> None:
    files = sorted((repository / "manifests").rglob("*.yml"))
    assert files
    for file in files:
        newest_kubernetes(yaml.safe_load(file.read_text()))
