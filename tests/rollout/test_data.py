"""Data that is backed up before a schema is expanded, and what the cluster knows once it is back.

What runs in containers, the lab shows: tests/story/test_backup.py.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from pillarbox.manifests import Manifest
from pillarbox.manifests.backups import ANNOTATION, BackupCommands
from pillarbox.rollout import Cluster, Refused, RolloutError, data_of
from pillarbox.rollout.memory import Memory, go_back, outdated, recall
from pillarbox.rollout.objects import ObjectRef

Build = Callable[..., Manifest]


@pytest.fixture
def release(deployment: Build, job: Build) -> Callable[[str], list[Manifest]]:
    """A service of a release: a Job that expands its schema, the service, and a Job that contracts it."""

    def build(number: str) -> list[Manifest]:
        notes, labels = {"pillarbox.io/release": number}, {"app.kubernetes.io/name": "api"}
        expand = job(f"expand-{number}", labels=labels, annotations={**notes, "pillarbox.io/phase": "expand"})
        server = deployment(
            "api", f"good:{number}", labels=labels, annotations=notes, depends_on=(f"job/expand-{number}",)
        )
        marks = {**notes, "pillarbox.io/phase": "contract"}
        contract = job(f"contract-{number}", labels=labels, annotations=marks, depends_on=("service/api",))
        return [expand, server, contract]

    return build


def test_the_backup_is_made_once_and_before_the_first_expansion(
    roll: Any, release: Callable[[str], list[Manifest]], job: Build, kubelet: Any, cluster: Cluster, namespace: str
) -> None:
    first = ObjectRef("batch/v1", "Job", namespace, "expand-2022.2")
    seen = list[bool]()
    marks = {"pillarbox.io/release": "1", "pillarbox.io/phase": "expand"}
    other = job("other", labels={"app.kubernetes.io/name": "other"}, annotations=marks)

    def backup() -> None:
        seen.append(cluster.get(first) is not None)

    assert roll(*release("2022.2"), other, before_expand=backup, dry_run=True).succeeded
    assert seen == [], "a trial backs up nothing"
    assert roll(*release("2022.2"), other, before_expand=backup).succeeded
    assert seen == [False]
    assert roll(*release("2022.2"), other, before_expand=backup).succeeded
    assert seen == [False], "nothing is expanded by a deploy without a new Job"


def test_without_a_backup_nothing_is_migrated(
    roll: Any, release: Callable[[str], list[Manifest]], kubelet: Any, cluster: Cluster, namespace: str
) -> None:
    def backup() -> None:
        raise RolloutError("the disk is full")

    done = roll(*release("2022.2"), before_expand=backup)
    assert not done.succeeded and "the disk is full" in done.error
    assert cluster.get(ObjectRef("batch/v1", "Job", namespace, "expand-2022.2")) is None
    assert [step.result.value for step in done.steps if step.ref.name == "api"] == ["not reached"]


def test_with_the_data_of_a_time_the_cluster_knows_what_it_knew_then(
    roll: Any, release: Callable[[str], list[Manifest]], kubelet: Any, cluster: Cluster, namespace: str
) -> None:
    old, new = release("2022.2"), release("2025.1")
    assert roll(*old).succeeded
    known = Memory.of(recall(cluster, namespace, [namespace]).as_dict())
    assert known.floors == {(namespace, "api"): "2022.2"}
    assert roll(*new).succeeded
    with pytest.raises(Refused, match=r"orch\.restore"):
        roll(*old)

    assert {each.name for each in outdated(cluster, namespace, known)} == {"expand-2025.1", "contract-2025.1"}
    go_back(cluster, namespace, [namespace], known)
    assert outdated(cluster, namespace, known) == ()
    assert recall(cluster, namespace, [namespace]).floors == known.floors
    assert roll(*old).succeeded, "the release that the data is of may be deployed again"
    again = roll(*new)
    assert again.succeeded
    ran = {step.ref.name for step in again.steps if step.ref.kind == "Job" and step.action.value == "create"}
    assert ran == {"expand-2025.1", "contract-2025.1"}, "the migration runs again"


def test_data_without_a_pod_that_is_ready_cannot_be_had(
    roll: Any, deployment: Build, kubelet: Any, cluster: Cluster, namespace: str
) -> None:
    commands = BackupCommands("main", ("dump",), ("restore",), True)
    manifest = deployment("db", "crash:1", annotations={ANNOTATION: commands.annotation})
    roll(manifest)
    (data,) = data_of(cluster, namespace, [manifest])
    assert data.name == "db" and data.commands == commands
    with pytest.raises(RolloutError, match="no pod whose container main is ready"):
        list(data.read())
