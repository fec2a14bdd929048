"""The key ``backup`` of a service becomes an annotation of its workload, and rolls no pod."""

from __future__ import annotations

from typing import Any

import pytest
from tests.manifests.control_pillars import one, service

from pillarbox.manifests.backups import ANNOTATION, BackupCommands, of
from pillarbox.system.errors import PillarboxError

COMMANDS = {"command": "dump --all", "restore_command": ["restore", "--all"]}


def test_commands_stand_with_the_workload(rendered: Any) -> None:
    deployment = one(rendered(service(backup={**COMMANDS, "before_expand": True})), "Deployment")
    assert ANNOTATION not in deployment["spec"]["template"]["metadata"].get("annotations", {})
    found = of(deployment["metadata"]["annotations"])
    assert found == BackupCommands("api", ("dump", "--all"), ("restore", "--all"), True)


def test_without_the_key_there_is_no_annotation(rendered: Any) -> None:
    deployment = one(rendered(service()), "Deployment")
    assert of(deployment["metadata"].get("annotations", {})) is None


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ({"backup": {"command": "dump"}}, "expected restore_command"),
        ({"backup": {"restore_command": "dump"}}, "expected command"),
        ({"backup": {**COMMANDS, "container": "apo"}}, "there is no container apo"),
        ({"backup": {**COMMANDS, "befor_expand": True}}, "unknown key befor_expand"),
        ({"backup": COMMANDS, "kind": "DaemonSet"}, "a DaemonSet has no backup"),
    ],
)
def test_mistakes_are_told(rendered: Any, more: dict[str, Any], expected: str) -> None:
    with pytest.raises(PillarboxError, match=expected):
        rendered(service(**more))
