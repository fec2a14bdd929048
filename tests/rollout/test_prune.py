"""What a rollout leaves alone although the model no longer has it, by a cluster that only lists."""

from __future__ import annotations

from typing import Any, cast

from pillarbox.rollout.cluster import FIELD_MANAGER, Cluster
from pillarbox.rollout.objects import DEPLOYMENT, MANAGED_BY
from pillarbox.rollout.prune import orphans


class Namespaces:
    """A cluster in which a deployment applied some namespaces."""

    def __init__(self, *names: str) -> None:
        self.names = names

    def kinds(self, first: Any) -> list[tuple[str, str]]:
        return [("v1", "Namespace")]

    def list(self, api_version: str, kind: str, namespace: str = "", *, labels: str = "") -> tuple[list[Any], str]:
        applied = {"manager": FIELD_MANAGER, "operation": "Apply", "fieldsV1": {"f:metadata": {}}}
        found = [
            {
                "apiVersion": api_version,
                "kind": kind,
                "metadata": {
                    "name": name,
                    "uid": name,
                    "labels": {MANAGED_BY: "pillarbox", DEPLOYMENT: "lab"},
                    "managedFields": [applied],
                },
            }
            for name in self.names
        ]
        return found, "1"


def test_a_namespace_that_every_cluster_has_is_never_deleted() -> None:
    cluster = cast(Cluster, Namespaces("default", "kube-system", "monitoring"))
    for data_too, going in ((False, set[str]()), (True, {"monitoring"})):
        left = orphans(cluster, (), "lab", data_too=data_too)
        assert {each.ref.name for each in left} == {"default", "kube-system", "monitoring"}
        assert {each.ref.name for each in left if not each.kept} == going
