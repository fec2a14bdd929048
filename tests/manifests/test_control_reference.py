"""The examples of formulas/kubernetes/control.md render, and what they render to is valid."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.manifests.control_pillars import Spec

from pillarbox.manifests import render

PAGE = Path(__file__).resolve().parents[2] / "formulas" / "kubernetes" / "control.md"
EXAMPLES = re.findall(r"^```yaml\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
IMAGES = ("keystone-server", "memcached-server", "mariadb-server", "glance-server")


@pytest.mark.parametrize("example", EXAMPLES, ids=range(len(EXAMPLES)))
def test_examples_render(example: str, model: Any, newest_kubernetes: Any, kubernetes_1_20: Any) -> None:
    control = yaml.safe_load(example)["kubernetes"]["control"]
    specs = {name: Spec(name) for name in IMAGES}

    # An example of what only a later version has says which.
    later = control.get("version", "1.20.2") != "1.20.2"
    for version, validate in (("1.20.2", kubernetes_1_20), ("1.37", newest_kubernetes))[later:]:
        manifests = render(model(control | {"version": version}), specs)
        assert manifests
        for each in manifests:
            # Custom resources are their own definition's to judge.
            if each.type.apis:
                validate(each.object)
