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


def test_pods_with_data_request_all_the_memory_that_they_may_have(repository: Path) -> None:
    """A pod that uses more than it requests is the first that a node evicts, whatever its priority."""
    objects = [yaml.safe_load(file.read_text()) for file in sorted((repository / "manifests").rglob("*.yml"))]
    pods = [each["spec"]["template"]["spec"] for each in objects if "template" in each.get("spec", {})]
    resources = [
        container["resources"]
        for pod in pods
        if pod.get("priorityClassName") == "data"
        for container in pod["containers"]
    ]
    assert resources
    for each in resources:
        assert each["requests"]["memory"] == each["limits"]["memory"]
