"""One table of kinds: what manifests can make is ordered, pruned, gated and found by its group."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
import yaml
from tests.manifests.control_pillars import Spec
from tests.manifests.test_control_reference import EXAMPLES, IMAGES
from tests.manifests.test_manifest_properties import OneNode

from pillarbox import manifests
from pillarbox.manifests import kinds, render
from pillarbox.manifests.render import SECTIONS
from pillarbox.rollout.health import health

BUILDERS = Path(manifests.__file__).parent
VERSIONS = [(1, 20), (1, 21), (1, 30), (1, 37)]


def test_every_kind_that_a_section_makes_is_in_the_table() -> None:
    # Both ways: the examples of the reference make every kind, and nothing that the table lacks.
    made = {
        (each.type, each.place.path[2])
        for control in (yaml.safe_load(text)["kubernetes"]["control"] for text in EXAMPLES)
        for older in ({}, {"version": "1.20"} if "version" not in control else {})
        for each in render(OneNode(control | older), {n: Spec(n) for n in IMAGES})
    }
    assert {kind for kind, section in made if section != kinds.OBJECT} == {
        kind for kind in kinds.TABLE if kind.section != kinds.OBJECT
    }
    assert {kind.section for kind in kinds.TABLE} <= SECTIONS.keys()


def test_the_table_names_a_kind_once_and_each_record_is_whole() -> None:
    names = [kind.name for kind in kinds.TABLE]
    assert len(set(names)) == len(names)
    for kind in kinds.TABLE:
        assert all(kind.api(version) for version in VERSIONS)
        assert kind.gate is None or health(kind.gate)
        assert kinds.order(kind) < kinds.order(kinds.Kind("Backup")), "others may need it, so it is deleted last"


@pytest.mark.parametrize("gate", kinds.Gate)
def test_every_gate_is_known_to_the_rollout(gate: kinds.Gate) -> None:
    assert health(gate)


def test_a_kind_of_another_group_is_another_kind() -> None:
    assert kinds.find("batch/v1", "Job") is kinds.JOB
    assert kinds.find("batch/v1beta1", "CronJob") is kinds.CRON_JOB
    other = kinds.find("batch.volcano.sh/v1alpha1", "Job")
    assert other is not kinds.JOB and other.gate is None and not other.once


def test_no_other_module_lists_kinds(repository: Path) -> None:
    """Three kinds in one list are a table of kinds, and that is another module's."""
    known = {kind.name for kind in kinds.TABLE}
    for room in ("manifests", "rollout", "pipeline", "revision"):
        for file in sorted((BUILDERS.parent / room).glob("*.py")):
            for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
                if file.name != "kinds.py" and isinstance(node, ast.Tuple | ast.List | ast.Set | ast.Dict):
                    items = [*node.keys, *node.values] if isinstance(node, ast.Dict) else node.elts
                    named = [item.value for item in items if isinstance(item, ast.Constant) and item.value in known]
                    assert len(named) < 3, f"{file.name}:{node.lineno}: {named}"
