"""The reference deployment's manifests, against the schemas of an old and the newest Kubernetes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

Validate = Callable[[dict[str, Any]], Any]


def test_committed_manifests_validate(repository: Path, kubernetes_1_20: Validate, newest_kubernetes: Validate) -> None:
    files = sorted((repository / "manifests").rglob("*.yml"))
    assert files
    for file in files:
        document = yaml.safe_load(file.read_text())
        kubernetes_1_20(document)
        # The API versions follow the cluster's Kubernetes, which is 1.20 here; 1.25 took this one away.
        if document["apiVersion"] != "policy/v1beta1":
            newest_kubernetes(document)
