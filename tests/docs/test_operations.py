"""What the page on operations says of the reference deployment in numbers is what the model has."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from pillarbox.model import Inventory


@pytest.fixture(scope="module")
def page(repository: Path) -> str:
    return (repository / "docs" / "operations.md").read_text(encoding="utf-8")


def test_who_is_evicted_first(repository: Path, page: str) -> None:
    values, pods = {"none": 0}, {"none": {"all others"}}
    for file in (repository / "manifests" / "lab").glob("*.yml"):
        for each in yaml.safe_load_all(file.read_text(encoding="utf-8")):
            if each["kind"] == "PriorityClass":
                values[each["metadata"]["name"]] = each["value"]
            spec = each.get("spec", {}).get("template", {}).get("spec", {})
            if "priorityClassName" in spec:
                pods.setdefault(spec["priorityClassName"], set()).add(each["metadata"]["name"])
    rows = page.partition("## When a node runs short")[2].partition("\n## ")[0]
    said = re.findall(r"^\| (\d+) \| (.*) \| (.*) \|$", rows, re.MULTILINE)
    assert [int(value) for value, _, _ in said] == sorted(values.values())
    assert {name.strip("`"): int(value) for value, name, _ in said} == values
    assert {name.strip("`"): set(those.replace("`", "").split(", ")) for _, name, those in said} == pods


def test_when_pods_are_evicted(repository: Path, page: str) -> None:
    limits = Inventory(repository).node("ctl01").parameters["kubernetes"]["pool"]["kubelet"]["config"]["evictionHard"]
    assert dict(limits) == {"memory.available": "100Mi", "nodefs.available": "1Gi", "imagefs.available": "1Gi"}
    assert "begins at 100Mi of memory, or 1Gi of disk" in page
