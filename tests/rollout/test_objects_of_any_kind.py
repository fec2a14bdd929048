"""Objects of any kind against a real API server: definitions, custom resources, gates by condition, leaving the model.

| case                                           | expected                                                   |
|------------------------------------------------|------------------------------------------------------------|
| a definition and its objects in one rollout    | the objects wait for the definition, others for them       |
| a condition that does not come                 | the wave goes back, in the controller's own words          |
| an object that its coming definition refuses   | seen in its wave, and nothing after it starts              |
| a definition that changes with its objects     | no refusal by the schema from before                       |
| an object leaves the model                     | deleted, of whatever kind, with no record of it anywhere   |
| its finalizers are not done                    | what comes after it stays                                  |
| each kind of the table leaves the model        | deleted, or kept for a reason                              |
"""

from __future__ import annotations

import copy
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from tests.controlplane import ControlPlane
from tests.manifests.control_pillars import by_title
from tests.manifests.test_manifest_properties import OneNode

from pillarbox.manifests import Manifest, kinds, render
from pillarbox.rollout import ApiError, Cluster, GoodStore, ObjectState, RolloutError, StepResult, status
from pillarbox.rollout.objects import ObjectRef
from pillarbox.secrets import Keyring
from pillarbox.system.waiting import until


@pytest.fixture
def group() -> str:
    """An API group of the test's own, because definitions are the whole cluster's."""
    return f"{secrets.token_hex(4)}.example.org"


class Controller(threading.Thread):
    """Says of every Backup what ``says`` makes of it: status and message of the condition Ready."""

    def __init__(self, cluster: Cluster, group: str, namespace: str) -> None:
        super().__init__(daemon=True)
        self.cluster, self.api_version, self.namespace = cluster, f"{group}/v1", namespace
        self.stopping = threading.Event()
        self.says: Callable[[dict[str, Any]], tuple[str, str]] = lambda backup: ("True", "")

    def run(self) -> None:
        while not self.stopping.wait(0.1):
            try:
                if self.cluster.serves(self.api_version, "Backup"):
                    for backup in self.cluster.list(self.api_version, "Backup", self.namespace)[0]:
                        self.serve(backup)
            except ApiError as error:
                # Definitions and their objects come and go while they are looked at.
                if error.status not in (404, 409):
                    raise

    def serve(self, backup: dict[str, Any]) -> None:
        metadata = backup["metadata"]
        if (backup.get("status") or {}).get("observedGeneration") == metadata["generation"]:
            return
        ready, message = self.says(backup)
        path = f"/apis/{self.api_version}/namespaces/{self.namespace}/backups/{metadata['name']}/status"
        conditions = [{"type": "Ready", "status": ready, "message": message}]
        body = {"status": {"observedGeneration": metadata["generation"], "conditions": conditions}}
        self.cluster._request("PATCH", path, body=body, content_type="application/merge-patch+json")


@pytest.fixture
def controller(apiserver: ControlPlane, group: str, namespace: str) -> Iterator[Controller]:
    with Cluster(apiserver.kubeconfig) as connection:
        thread = Controller(connection, group, namespace)
        thread.start()
        yield thread
        thread.stopping.set()
        thread.join(10)


@pytest.fixture
def model(group: str, namespace: str, cluster: Cluster) -> Iterator[Callable[..., tuple[Manifest, ...]]]:
    """The definition of Backup, one called nightly with the given keys and body, and a Deployment that needs it."""

    def build(*, spec: dict[str, Any] | None = None, only: tuple[str, ...] = (), **more: Any) -> tuple[Manifest, ...]:
        text = {"type": "object", "properties": {"schedule": {"type": "string"}, **more.pop("fields", {})}}
        kept = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
        schema = {"openAPIV3Schema": {"type": "object", "properties": {"spec": text, "status": kept}}}
        version = {"name": "v1", "served": True, "storage": True, "subresources": {"status": {}}, "schema": schema}
        objects = {
            "definition": {
                "api_version": "apiextensions.k8s.io/v1",
                "kind": "CustomResourceDefinition",
                "name": f"backups.{group}",
                "body": {
                    "spec": {
                        "group": group,
                        "scope": "Namespaced",
                        "names": {"kind": "Backup", "plural": "backups", "singular": "backup"},
                        "versions": [version],
                    }
                },
            },
            "nightly": {
                "api_version": f"{group}/v1",
                "kind": "Backup",
                "body": {"spec": {"schedule": "daily"} | (spec or {})},
                "gate": {"condition": "Ready", "timeout": 3},
            }
            | more,
        }
        web = {"container": {"web": {"image": "good:1"}}, "depends_on": ["object/nightly"]}
        control = {"namespace": namespace, "version": "1.37.2", "object": objects, "service": {"web": web}}
        found = render(OneNode(control))
        return tuple(each for each in found if not only or each.kind in only)

    yield build
    cluster.delete(ObjectRef("apiextensions.k8s.io/v1", "CustomResourceDefinition", "", f"backups.{group}"))


def backup(cluster: Cluster, group: str, namespace: str) -> dict[str, Any] | None:
    return cluster.get(ObjectRef(f"{group}/v1", "Backup", namespace, "nightly"))


def results(outcome: Any) -> dict[str, StepResult]:
    return {step.ref.kind: step.result for step in outcome.steps}


def test_a_definition_and_its_objects_in_one_rollout(
    roll: Any, model: Any, controller: Controller, kubelet: Any, cluster: Cluster, group: str, namespace: str,
    keyring: Keyring, lines: list[str],
) -> None:  # fmt: skip
    outcome = roll(*model())
    assert outcome.succeeded, outcome.error
    assert {step.ref.kind: step.wave for step in outcome.steps} == {
        "CustomResourceDefinition": 1,
        "Backup": 2,
        "Deployment": 3,
    }
    told = "\n".join(lines)
    assert told.index("Backup") < told.index("nightly healthy") < told.index("web created")
    assert {step["kind"] for step in outcome.as_dict()["steps"]} == {"CustomResourceDefinition", "Backup", "Deployment"}
    assert roll(*model()).writes == 0
    states = status(cluster, model(), deployment=namespace, keyring=keyring)
    assert {item.ref.kind: (item.state, item.detail) for item in states} == {
        "CustomResourceDefinition": (ObjectState.OK, "Established is True"),
        "Backup": (ObjectState.OK, "Ready is True"),
        "Deployment": (ObjectState.OK, "1 of 1 updated, 1 available"),
    }


def test_a_condition_that_does_not_come_puts_the_wave_back(
    roll: Any, model: Any, controller: Controller, kubelet: Any, cluster: Cluster, group: str, namespace: str,
    keyring: Keyring,
) -> None:  # fmt: skip
    controller.says = lambda item: (
        ("False", "no room on disk") if item["spec"]["schedule"] == "hourly" else ("True", "")
    )
    assert roll(*model()).succeeded
    outcome = roll(*model(spec={"schedule": "hourly"}))
    assert not outcome.succeeded
    assert "not healthy within 3 s (Ready is False: no room on disk)" in outcome.error
    live = backup(cluster, group, namespace)
    assert live and live["spec"] == {"schedule": "daily"}
    # Another's hand breaks it: status says so, in the same words.
    live["spec"]["schedule"] = "hourly"
    path = f"/apis/{group}/v1/namespaces/{namespace}/backups/nightly"
    cluster._request("PATCH", path, body={"spec": live["spec"]}, content_type="application/merge-patch+json")
    assert until(lambda: "False" in str(backup(cluster, group, namespace)), "the controller", patience=20)
    states = status(cluster, model(), deployment=namespace, keyring=keyring)
    found = {item.ref.kind: item for item in states}["Backup"]
    assert (found.state, found.detail) == (ObjectState.UNHEALTHY, "Ready is False: no room on disk")


def test_a_new_object_whose_condition_does_not_come_stops_what_needs_it(
    roll: Any, model: Any, controller: Controller, kubelet: Any, cluster: Cluster, group: str, namespace: str
) -> None:
    controller.says = lambda item: ("Unknown", "")
    outcome = roll(*model())
    assert not outcome.succeeded
    assert results(outcome) == {
        "CustomResourceDefinition": StepResult.OK,
        "Backup": StepResult.FAILED,
        "Deployment": StepResult.NOT_REACHED,
    }
    assert backup(cluster, group, namespace), "what is new stays for inspection"


def test_an_object_that_its_coming_definition_refuses(
    roll: Any, model: Any, cluster: Cluster, group: str, namespace: str
) -> None:
    outcome = roll(*model(spec={"schedule": 5}))
    assert not outcome.succeeded
    assert "spec.schedule" in outcome.error and "nightly-backup" in outcome.error
    assert results(outcome)["Deployment"] is StepResult.NOT_REACHED
    # With the definition there, it is refused before anything is written.
    with pytest.raises(ApiError, match=r"spec\.schedule"):
        roll(*model(spec={"schedule": 5}))


def test_a_definition_that_changes_with_its_objects(
    roll: Any, model: Any, controller: Controller, kubelet: Any, cluster: Cluster, group: str, namespace: str
) -> None:
    assert roll(*model()).succeeded
    outcome = roll(*model(fields={"keep": {"type": "integer"}}, spec={"keep": 7}))
    assert outcome.succeeded, outcome.error
    live = backup(cluster, group, namespace)
    assert live and live["spec"] == {"schedule": "daily", "keep": 7}


def test_what_left_the_model_goes_of_whatever_kind(
    roll: Any, model: Any, controller: Controller, kubelet: Any, cluster: Cluster, group: str, namespace: str,
    apiserver: ControlPlane, keyring: Keyring, store: GoodStore,
) -> None:  # fmt: skip
    assert roll(*model()).succeeded
    for file in store.directory.iterdir():
        file.unlink()
    # A copy that a controller made, with our labels: not ours.
    live = backup(cluster, group, namespace)
    assert live
    copied = {"name": "copy", "namespace": namespace, "labels": live["metadata"]["labels"]}
    path = f"/apis/{group}/v1/namespaces/{namespace}/backups"
    cluster._request("POST", path, body={**live, "metadata": copied, "status": {}})

    states = status(cluster, (), deployment=namespace, keyring=keyring)
    assert {item.ref.kind: item.state for item in states} == dict.fromkeys(
        ("Backup", "Deployment", "CustomResourceDefinition"), ObjectState.EXTRA
    )
    outcome = roll()
    assert [step.ref.kind for step in outcome.steps] == ["Backup", "Deployment"], "custom resources go first"
    assert [(item.ref.kind, item.kept) for item in outcome.kept] == [
        ("CustomResourceDefinition", "all objects of its kind would go with it")
    ]
    assert backup(cluster, group, namespace) is None
    assert cluster.get(ObjectRef(f"{group}/v1", "Backup", namespace, "copy"))
    assert [step.ref.kind for step in roll(data_too=True).steps] == ["CustomResourceDefinition"]


def test_what_the_model_wants_kept_stays(
    roll: Any, model: Any, controller: Controller, kubelet: Any, cluster: Cluster, group: str, namespace: str
) -> None:
    assert roll(*model(keep=True)).succeeded
    outcome = roll(*model(only=("CustomResourceDefinition",)))
    assert [(item.ref.name, item.kept) for item in outcome.kept] == [("nightly", "the model had it as one to keep")]
    assert backup(cluster, group, namespace)
    roll(*model(only=("CustomResourceDefinition",)), data_too=True)
    assert backup(cluster, group, namespace) is None


def test_what_waits_for_finalizers_keeps_what_comes_after_it(
    roll: Any, model: Any, controller: Controller, kubelet: Any, cluster: Cluster, group: str, namespace: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    assert roll(*model()).succeeded
    path = f"/apis/{group}/v1/namespaces/{namespace}/backups/nightly"

    def finalizers(names: list[str]) -> None:
        body = {"metadata": {"finalizers": names}}
        cluster._request("PATCH", path, body=body, content_type="application/merge-patch+json")

    finalizers(["example.org/clean-up"])
    monkeypatch.setattr("pillarbox.rollout.roll._FINALIZERS", 1.0)
    outcome = roll(*model(only=("CustomResourceDefinition",)))
    assert outcome.succeeded
    assert [(item.ref.kind, item.kept) for item in outcome.kept] == [
        ("Deployment", f"Backup {namespace}/nightly waits for its finalizers")
    ]
    assert cluster.get(ObjectRef("apps/v1", "Deployment", namespace, "web"))
    finalizers([])
    outcome = roll(*model(only=("CustomResourceDefinition",)))
    assert [step.ref.kind for step in outcome.steps if step.action == "delete"] == ["Deployment"]


def test_an_extension_that_is_down_does_not_fail_a_rollout(
    roll: Any, manifest: Any, cluster: Cluster, group: str, namespace: str
) -> None:
    service = {
        "apiVersion": "apiregistration.k8s.io/v1",
        "kind": "APIService",
        "metadata": {"name": f"v1.{group}"},
        "spec": {
            "group": group,
            "version": "v1",
            "groupPriorityMinimum": 100,
            "versionPriority": 100,
            "insecureSkipTLSVerify": True,
            "service": {"name": "nobody", "namespace": namespace},
        },
    }
    there = ObjectRef("apiregistration.k8s.io/v1", "APIService", "", f"v1.{group}")
    # Kubernetes 1.20 does not survive a server-side apply of this kind.
    cluster._request("POST", "/apis/apiregistration.k8s.io/v1/apiservices", body=service)
    try:
        # From then on the API server answers for it, and says that it is unavailable.
        assert until(lambda: "ServiceNotFound" in str(cluster.get(there)), "the group", patience=30)
        assert group in str(cluster._request("GET", "/apis"))
        assert roll(manifest("ConfigMap", "c", {"data": {}})).succeeded
        start = time.monotonic()
        assert [step.ref.name for step in roll().steps] == ["c"]
        assert time.monotonic() - start < 10, "nobody waits for it to come back"
    finally:
        cluster.delete(there)


def test_a_scope_that_the_cluster_does_not_have_is_refused(roll: Any, namespace: str) -> None:
    node = {"api_version": "node.k8s.io/v1", "kind": "RuntimeClass", "body": {"handler": "runc"}}
    control = {"namespace": namespace, "version": "1.37.2", "object": {f"{namespace}-runc": node}}
    with pytest.raises(RolloutError, match="a RuntimeClass has the scope Cluster") as error:
        roll(*render(OneNode(control)))
    assert error.value.hint == "Write scope: Cluster."
    node["scope"] = "Cluster"
    assert roll(*render(OneNode(control))).succeeded
    assert [step.ref.kind for step in roll().steps] == ["RuntimeClass"]


def test_a_kind_that_the_cluster_does_not_serve_is_refused(roll: Any, namespace: str) -> None:
    control = {"namespace": namespace, "object": {"a": {"api_version": "nowhere.example.org/v1", "kind": "Backup"}}}
    with pytest.raises(RolloutError, match=r"does not serve nowhere\.example\.org/v1"):
        roll(*render(OneNode(control)))


def test_each_kind_of_the_table_is_made_pruned_and_reported(
    roll: Any, kubelet: Any, cluster: Cluster, namespace: str
) -> None:
    pod = {"container": {"a": {"image": "good:1"}}}
    rule = {"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}
    limits: dict[str, Any] = {"limits": []}
    subject = {"subject": {"alice": {"kind": "User"}}}
    port = {"port": 1, "name": "e"}
    other = f"{namespace}-other"
    control = {
        "namespace": namespace,
        "version": cluster.version(),
        "service": {
            "web": pod | {"ports": [{"port": 80, "name": "web"}], "disruption_budget": {"min_available": 1}},
            "agent": pod | {"kind": "DaemonSet"},
            "db": pod | {"kind": "StatefulSet"},
        },
        "job": {"once": pod, "always": pod | {"schedule": "0 3 * * *"}},
        "configmap": {"c": {"data": {"a": "b"}}},
        "persistent_volume": {f"{namespace}-v": {"type": "hostPath", "path": "/a", "storage": "1Gi"}},
        "persistent_volume_claim": {"v": {"storage": "1Gi"}},
        "role": {
            f"{namespace}-r": {"kind": "ClusterRole", "rules": [rule], "binding": {f"{namespace}-b": subject}},
            "r": {"namespace": namespace, "rules": [rule], "binding": {"b": subject}},
        },
        "service_account": {"s": {}},
        "namespaces": {other: {}},
        "ingress": {"i": {"rules": {"hosts": [{"host": "a.example", "paths": {"/": {"service": "web", "port": 80}}}]}}},
        "endpoints": {"e": {"ports": [port], "subsets": [{"ip": "192.0.2.1", "port": port}]}},
        "object": {
            f"{namespace}-p": {"api_version": "scheduling.k8s.io/v1", "kind": "PriorityClass", "body": {"value": 1}},
            f"{namespace}-s": {
                "api_version": "storage.k8s.io/v1",
                "kind": "StorageClass",
                "body": {"provisioner": "example.org/none"},
            },
            # A kind that no table knows.
            "l": {"api_version": "v1", "kind": "LimitRange", "body": {"spec": limits}},
        },
        "network_policy": {"n": {"from": []}},
    }  # fmt: skip
    made = render(OneNode(control))
    # Secrets need a key ring, definitions a group: tests of their own. Endpoints are what slices were.
    apart = {kinds.SECRET, kinds.DEFINITION, kinds.named("Endpoints")}
    assert {each.type for each in made} - {kinds.find("v1", "LimitRange")} == {*kinds.TABLE} - apart
    outcome = roll(*copy.deepcopy(made))
    assert outcome.succeeded, outcome.error
    assert {(step.ref.kind, step.ref.name) for step in outcome.steps} == {(each.kind, each.name) for each in made}
    assert len(by_title(made)) == len(made)

    emptied = roll()
    gone = {step.ref.kind for step in emptied.steps}
    kept = {item.ref.kind: item.kept for item in emptied.kept}
    assert gone | kept.keys() == {each.kind for each in made}
    assert kept == {kind.name: kind.precious for kind in kinds.TABLE if kind.precious and kind not in apart}
    assert roll().steps == ()
    assert {step.ref.kind for step in roll(data_too=True).steps} == kept.keys()
