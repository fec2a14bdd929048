"""A rollout against a real API server: what is written, what is not, and what happens when it goes wrong.

| case                                   | expected                                                   |
|----------------------------------------|------------------------------------------------------------|
| the same again                         | no write                                                   |
| one image changes                      | that workload rolls, nothing else                          |
| a manifest is refused                  | nothing of the whole run is written                        |
| a workload never becomes healthy       | its wave goes back, later waves do not start               |
| a Job completed / failed               | left alone / run again                                     |
| a contracted schema and an old release | refused before anything is written                         |
| a contraction that began               | the same, however it ended; nothing is put back behind it  |
| an object leaves the model             | deleted at the end, unless it may hold data                |
| the API server restarts                | the rollout carries on                                     |
"""

from __future__ import annotations

import base64
import re
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests import gnupg

from pillarbox.manifests.manifest import Manifest
from pillarbox.rollout import ApiError, Cluster, GoodStore, Refused, RolloutOutcome, status
from pillarbox.rollout.objects import ObjectRef
from pillarbox.secrets import Keyring
from pillarbox.system.errors import PillarboxError
from pillarbox.system.progress import Progress

Build = Callable[..., Manifest]


def versions(cluster: Cluster, namespace: str) -> dict[str, str]:
    kinds = (("apps/v1", "Deployment"), ("v1", "ConfigMap"), ("v1", "Secret"), ("v1", "Service"))

    def version(kind: str, item: dict[str, Any]) -> str:
        return str(item["metadata"]["generation" if kind == "Deployment" else "resourceVersion"])

    return {
        f"{kind}/{item['metadata']['name']}": version(kind, item)
        for api, kind in kinds
        for item in cluster.list(api, kind, namespace)[0]
    }


def image(cluster: Cluster, namespace: str, name: str) -> str:
    live = cluster.get(ObjectRef("apps/v1", "Deployment", namespace, name))
    assert live
    return str(live["spec"]["template"]["spec"]["containers"][0]["image"])


def test_unchanged_objects_cause_no_write(
    roll: Any, deployment: Build, manifest: Build, job: Build, cluster: Cluster, namespace: str, kubelet: Any
) -> None:
    model = [
        manifest("ConfigMap", "c", {"data": {"a": "1"}}),
        manifest("Service", "web", {"spec": {"selector": {"app": "web"}, "ports": [{"port": 80, "name": "http"}]}}),
        deployment("web", depends_on=("job/once",)),
        job("once"),
    ]
    first = roll(*model)
    assert first.succeeded and first.writes == 4
    before = versions(cluster, namespace)
    again = roll(*model)
    assert again.succeeded and again.writes == 0
    assert versions(cluster, namespace) == before
    assert {step.result for step in again.steps} == {"ok"}


def test_only_what_changes_rolls(roll: Any, deployment: Build, cluster: Cluster, namespace: str, kubelet: Any) -> None:
    roll(deployment("a"), deployment("b"))
    before = versions(cluster, namespace)
    outcome = roll(deployment("a", "good:2"), deployment("b"))
    assert outcome.succeeded
    assert {step.ref.name: (step.action, step.rolls) for step in outcome.steps} == {
        "a": ("update", True),
        "b": ("unchanged", False),
    }
    after = versions(cluster, namespace)
    assert [name for name in after if after[name] != before[name]] == ["Deployment/a"]


def test_dry_run_writes_nothing_and_tells_all(
    roll: Any, deployment: Build, manifest: Build, cluster: Cluster, namespace: str, kubelet: Any
) -> None:
    roll(deployment("a"))
    before = versions(cluster, namespace)
    outcome = roll(deployment("a", "good:2"), manifest("ConfigMap", "c", {"data": {}}), dry_run=True)
    assert {step.ref.name: step.action for step in outcome.steps} == {"a": "update", "c": "create"}
    assert versions(cluster, namespace) == before


def test_a_refused_manifest_stops_everything_before_it_starts(
    roll: Any, deployment: Build, manifest: Build, cluster: Cluster, namespace: str, kubelet: Any
) -> None:
    bad = deployment("bad")
    bad.object["spec"]["template"]["spec"]["containers"][0]["image"] = ""
    before = versions(cluster, namespace)
    with pytest.raises(ApiError) as error:
        roll(manifest("ConfigMap", "c", {"data": {}}), deployment("a"), bad)
    assert error.value.file == "t/bad-deployment.yml"
    assert "spec.template.spec.containers[0].image" in str(error.value)
    assert versions(cluster, namespace) == before


def test_an_unknown_field_is_named(roll: Any, deployment: Build, kubelet: Any) -> None:
    bad = deployment("bad")
    bad.object["spec"]["replcias"] = 3
    with pytest.raises(PillarboxError, match="replcias"):
        roll(bad)


def test_a_failed_wave_goes_back_and_later_waves_do_not_start(
    roll: Any, deployment: Build, manifest: Build, cluster: Cluster, namespace: str, kubelet: Any, lines: list[str]
) -> None:
    def model(tag: str, keystone: str) -> list[Manifest]:
        source = [{"configMapRef": {"name": "keystone"}}]
        return [
            manifest("ConfigMap", "keystone", {"data": {"release": tag}}),
            deployment("db"),
            deployment("keystone", keystone, depends_on=("service/db",), env_from=source),
            deployment("glance", f"good:{tag}", depends_on=("service/keystone",)),
        ]

    assert roll(*model("1", "good:1")).succeeded
    before = versions(cluster, namespace)
    outcome = roll(*model("2", "crash:2"))
    assert not outcome.succeeded
    assert "CrashLoopBackOff" in outcome.error and "exit code 3" in outcome.error
    results = {f"{step.ref.kind}/{step.ref.name}": step.result for step in outcome.steps}
    assert results["Deployment/keystone"] == "failed"
    assert results["Deployment/glance"] == "not reached"
    assert image(cluster, namespace, "keystone") == "good:1"
    assert image(cluster, namespace, "glance") == "good:1"
    live = cluster.get(ObjectRef("v1", "ConfigMap", namespace, "keystone"))
    assert live and live["data"] == {"release": "1"}
    after = versions(cluster, namespace)
    assert after["Deployment/db"] == before["Deployment/db"]
    assert after["Deployment/glance"] == before["Deployment/glance"]
    assert any("healthy again" in line for line in lines)
    assert any(re.search(r"wave \d+: .*keystone.*; container \S+ of pod \S+: CrashLoop", line) for line in lines)
    # Going forward again is an ordinary deploy.
    assert roll(*model("3", "good:3")).succeeded
    assert image(cluster, namespace, "keystone") == "good:3"


def test_an_interrupted_rollout_tells_what_it_did(roll: Any, deployment: Build, kubelet: Any, lines: list[str]) -> None:
    model = [deployment("db"), deployment("keystone", depends_on=("service/db",))]

    def interrupted(text: str) -> None:
        lines.append(text)
        if "keystone created" in text:
            raise KeyboardInterrupt

    told: list[RolloutOutcome] = []
    with pytest.raises(KeyboardInterrupt):
        roll(*model, progress=Progress(sink=interrupted), cut_off=told.append)
    steps = {step.ref.name: (step.action, step.result, step.reason) for step in told[0].steps}
    assert not told[0].succeeded
    assert steps["db"] == ("create", "ok", "")
    assert steps["keystone"] == ("create", "ok", "applied; not waited for")
    assert roll(*model).succeeded


def test_going_back_needs_no_store(
    roll: Any, deployment: Build, cluster: Cluster, namespace: str, kubelet: Any, store: GoodStore
) -> None:
    roll(deployment("a", "good:1", replicas=3))
    for file in store.directory.iterdir():
        file.unlink()
    assert not roll(deployment("a", "crash:2", replicas=1)).succeeded
    live = cluster.get(ObjectRef("apps/v1", "Deployment", namespace, "a"))
    assert live and live["spec"]["replicas"] == 3
    assert image(cluster, namespace, "a") == "good:1"


def scale(cluster: Cluster, namespace: str, name: str, count: int) -> None:
    """As an autoscaler does."""
    path = f"/apis/apps/v1/namespaces/{namespace}/deployments/{name}/scale"
    body = {"spec": {"replicas": count}}
    cluster._request("PATCH", path, body=body, content_type="application/merge-patch+json")


def replicas(cluster: Cluster, namespace: str, name: str) -> int:
    live = cluster.get(ObjectRef("apps/v1", "Deployment", namespace, name))
    assert live
    return int(live["spec"]["replicas"])


def test_replicas_that_the_model_leaves_out_are_an_autoscalers(
    roll: Any, deployment: Build, cluster: Cluster, namespace: str, kubelet: Any
) -> None:
    assert roll(deployment("a", replicas=None)).succeeded
    assert replicas(cluster, namespace, "a") == 1, "Kubernetes' own"
    scale(cluster, namespace, "a", 3)
    assert roll(deployment("a", replicas=None)).writes == 0
    assert roll(deployment("a", "good:2", replicas=None)).succeeded
    assert replicas(cluster, namespace, "a") == 3
    assert not roll(deployment("a", "crash:3", replicas=None)).succeeded
    assert image(cluster, namespace, "a") == "good:2"
    assert replicas(cluster, namespace, "a") == 3, "going back leaves them alone as well"


@pytest.mark.parametrize("scaled", [1, 4])
def test_replicas_that_the_model_gives_up_stay_as_many_as_they_are(
    roll: Any, deployment: Build, cluster: Cluster, namespace: str, kubelet: Any, scaled: int
) -> None:
    assert roll(deployment("a", replicas=2)).succeeded
    scale(cluster, namespace, "a", scaled)
    outcome = roll(deployment("a", "good:2", replicas=None))
    assert outcome.succeeded
    assert [step.fields for step in outcome.steps] == [("spec.template.spec.containers[0].image",)]
    assert replicas(cluster, namespace, "a") == scaled
    scale(cluster, namespace, "a", 3)
    assert roll(deployment("a", "good:3", replicas=None)).succeeded
    assert replicas(cluster, namespace, "a") == 3
    assert roll(deployment("a", "good:3", replicas=2)).succeeded
    assert replicas(cluster, namespace, "a") == 2, "and the model may take them again"


def test_jobs_run_once_and_again_after_failing(
    roll: Any, job: Build, cluster: Cluster, namespace: str, kubelet: Any
) -> None:
    failed = roll(job("sync-1", "crash:1"))
    assert not failed.succeeded and "Job failed" in failed.error
    starts = len(kubelet.started)
    again = roll(job("sync-1", "good:1"))
    assert again.succeeded and [step.action for step in again.steps] == ["rerun"]
    assert len(kubelet.started) == starts + 1
    assert roll(job("sync-1", "good:1")).writes == 0
    assert len(kubelet.started) == starts + 1


@pytest.fixture
def release(deployment: Build, job: Build) -> Callable[..., list[Manifest]]:
    """A service of a release, with the Job that contracts its schema if the image of one is given."""

    def build(number: str, contract: str = "", image: str = "") -> list[Manifest]:
        labels = {"app.kubernetes.io/name": "keystone"}
        notes = {"pillarbox.io/release": number}
        server = deployment("keystone", image or f"good:{number}", labels=labels, annotations=notes)
        if not contract:
            return [server]
        marks = {**notes, "pillarbox.io/phase": "contract"}
        needs = ("service/keystone",)
        return [server, job(f"contract-{number}", contract, labels=labels, annotations=marks, depends_on=needs)]

    return build


def test_a_contracted_schema_forbids_going_back(
    roll: Any, release: Callable[..., list[Manifest]], cluster: Cluster, namespace: str, kubelet: Any
) -> None:
    assert roll(*release("2022.2")).succeeded
    assert roll(*release("2025.1")).succeeded
    assert roll(*release("2022.2")).succeeded, "nothing was contracted yet"
    assert roll(*release("2025.1", "good:1")).succeeded
    before = versions(cluster, namespace)
    with pytest.raises(Refused, match=r"cannot go back from release 2025\.1 to 2022\.2"):
        roll(*release("2022.2", "good:1"))
    assert versions(cluster, namespace) == before
    assert roll(*release("2025.1", "good:1")).writes == 0
    # The Jobs alone say it as well.
    cluster.delete(ObjectRef("v1", "ConfigMap", namespace, "pillarbox-state"))
    with pytest.raises(Refused):
        roll(*release("2022.2", "good:1"))
    assert roll(*release("2025.1", "good:1")).writes == 0
    assert cluster.get(ObjectRef("v1", "ConfigMap", namespace, "pillarbox-state")), "it is noted again"


def test_a_contraction_that_failed_half_way_forbids_going_back(
    roll: Any, release: Callable[..., list[Manifest]], cluster: Cluster, namespace: str, kubelet: Any
) -> None:
    assert roll(*release("2022.2")).succeeded
    assert not roll(*release("2025.1", "crash:1")).succeeded
    with pytest.raises(Refused, match="the contraction of its schema"):
        roll(*release("2022.2"))
    # Nor does it need the Job, which somebody may have deleted.
    cluster.delete(ObjectRef("batch/v1", "Job", namespace, "contract-2025.1"))
    with pytest.raises(Refused, match="the contraction of its schema"):
        roll(*release("2022.2"))
    assert roll(*release("2025.1", "good:1")).succeeded


def test_the_floor_is_noted_before_a_contraction_starts(
    roll: Any, release: Callable[..., list[Manifest]], cluster: Cluster, namespace: str, kubelet: Any, lines: list[str]
) -> None:
    assert roll(*release("2022.2")).succeeded

    def interrupted(text: str) -> None:
        lines.append(text)
        if "Job" in text and "created" in text:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        roll(*release("2025.1", "good:1"), progress=Progress(sink=interrupted))
    noted = cluster.get(ObjectRef("v1", "ConfigMap", namespace, "pillarbox-state"))
    assert noted and noted["data"] == {"keystone": "2025.1"}


def test_nothing_goes_back_behind_its_schema(
    roll: Any, release: Callable[..., list[Manifest]], cluster: Cluster, namespace: str, kubelet: Any,
    store: GoodStore, lines: list[str],
) -> None:  # fmt: skip
    keystone = ObjectRef("apps/v1", "Deployment", namespace, "keystone")
    assert roll(*release("2022.2")).succeeded
    old = store.get(keystone)
    assert old
    assert roll(*release("2025.1", "good:1")).succeeded
    # As after a deploy that ended between the roll and the note of what is healthy.
    store.put(keystone, old)
    outcome = roll(*release("2025.1", "good:1", image="crash:2"))
    assert not outcome.succeeded
    assert image(cluster, namespace, "keystone") == "good:2025.1", "what was applied last, the store being behind"

    # Where nothing is left that the schema allows, it stays.
    roll(*release("2025.1", "good:1"))
    store.put(keystone, old)
    cluster.apply({**old, "metadata": {**old["metadata"]}})
    outcome = roll(*release("2025.1", "good:1", image="crash:3"))
    (step,) = [step for step in outcome.steps if step.ref == keystone]
    assert step.result == "failed"
    assert "left in place: its schema cannot go back behind 2025.1" in step.reason
    assert image(cluster, namespace, "keystone") == "crash:3"


def test_a_contraction_waits_for_the_pods_that_were_replaced(
    roll: Any, release: Callable[..., list[Manifest]], cluster: Cluster, namespace: str, kubelet: Any, lines: list[str]
) -> None:
    assert roll(*release("2022.2")).succeeded

    def hold(pod: str, names: list[str]) -> None:
        """Keep a pod from going, as a request does that takes its time."""
        path = f"/api/v1/namespaces/{namespace}/pods/{pod}"
        body = {"metadata": {"finalizers": names}}
        cluster._request("PATCH", path, body=body, content_type="application/merge-patch+json")

    held = str(cluster.list("v1", "Pod", namespace)[0][0]["metadata"]["name"])
    hold(held, ["pillarbox.io/test"])
    started: list[bool] = []

    def say(text: str) -> None:
        lines.append(text)
        if "waits for 1 pods" in text:
            started.append(cluster.get(ObjectRef("batch/v1", "Job", namespace, "contract-2025.1")) is not None)
            hold(held, [])

    assert roll(*release("2025.1", "good:1"), progress=Progress(sink=say)).succeeded
    assert started == [False], lines


def test_a_deploy_that_writes_nothing_notes_what_is_healthy(
    roll: Any, deployment: Build, manifest: Build, cluster: Cluster, namespace: str, kubelet: Any, lines: list[str]
) -> None:
    """A deploy is interrupted before it knows the end, and deployed again; then comes a bad change."""

    def model(number: str, tag: str) -> list[Manifest]:
        source = [{"configMapRef": {"name": "web"}}]
        return [manifest("ConfigMap", "web", {"data": {"n": number}}), deployment("web", tag, env_from=source)]

    def interrupted(text: str) -> None:
        if "web updated" in text and "Deployment" in text:
            raise KeyboardInterrupt

    assert roll(*model("1", "good:1")).succeeded
    with pytest.raises(KeyboardInterrupt):
        roll(*model("2", "good:2"), progress=Progress(sink=interrupted))
    again = roll(*model("2", "good:2"))
    assert again.succeeded and again.writes == 0
    assert not roll(*model("3", "crash:3")).succeeded
    assert image(cluster, namespace, "web") == "good:2"
    live = cluster.get(ObjectRef("v1", "ConfigMap", namespace, "web"))
    assert live and live["data"] == {"n": "2"}


def test_configuration_is_as_good_as_what_runs_on_it(
    roll: Any, deployment: Build, manifest: Build, cluster: Cluster, namespace: str, kubelet: Any
) -> None:
    """A later wave's failure does not make what an earlier one came up with a thing of the past."""

    def model(number: str, web: str, later: str) -> list[Manifest]:
        source = [{"configMapRef": {"name": "web"}}]
        return [
            manifest("ConfigMap", "web", {"data": {"n": number}}),
            deployment("web", web, env_from=source),
            deployment("later", later, depends_on=("service/web",)),
        ]

    assert roll(*model("1", "good:1", "good:1")).succeeded
    assert not roll(*model("2", "good:2", "crash:2")).succeeded
    assert not roll(*model("3", "crash:3", "good:1")).succeeded
    assert image(cluster, namespace, "web") == "good:2"
    live = cluster.get(ObjectRef("v1", "ConfigMap", namespace, "web"))
    assert live and live["data"] == {"n": "2"}


def test_what_the_model_no_longer_has_goes_unless_it_may_hold_data(
    roll: Any, deployment: Build, manifest: Build, cluster: Cluster, namespace: str, kubelet: Any
) -> None:
    claim = manifest(
        "PersistentVolumeClaim",
        "data",
        {"spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}},
    )
    roll(deployment("a"), deployment("b"), manifest("ConfigMap", "c", {"data": {}}), claim)
    plan = roll(deployment("a"), dry_run=True)
    assert {str(step.ref) for step in plan.steps if step.action == "delete"} == {
        f"Deployment {namespace}/b",
        f"ConfigMap {namespace}/c",
    }
    outcome = roll(deployment("a"))
    assert [item.ref.name for item in outcome.kept] == ["data"]
    assert cluster.get(ObjectRef("apps/v1", "Deployment", namespace, "b")) is None
    assert cluster.get(ObjectRef("v1", "ConfigMap", namespace, "c")) is None
    assert cluster.get(ObjectRef("v1", "PersistentVolumeClaim", namespace, "data"))
    roll(deployment("a"), data_too=True)
    gone = cluster.get(ObjectRef("v1", "PersistentVolumeClaim", namespace, "data"))
    assert gone is None or gone["metadata"].get("deletionTimestamp")


def test_a_namespace_of_the_same_run(roll: Any, cluster: Cluster, namespace: str, manifest: Build) -> None:
    name = f"{namespace}-new"
    wanted = manifest("Namespace", name, {})
    del wanted.object["metadata"]["namespace"]
    inside = manifest("ConfigMap", "c", {"data": {"a": "b"}})
    inside.object["metadata"]["namespace"] = name
    assert roll(inside, wanted).succeeded
    assert cluster.get(ObjectRef("v1", "ConfigMap", name, "c"))
    cluster.delete(ObjectRef("v1", "Namespace", "", name))


@pytest.fixture(scope="session")
def gpg_home() -> Iterator[Path]:
    with gnupg.keyring("t@t") as home:
        yield home


def test_secrets_are_opened_for_the_cluster_alone(
    roll: Any, deployment: Build, manifest: Build, cluster: Cluster, namespace: str, kubelet: Any, gpg_home: Path,
    store: GoodStore, lines: list[str],
) -> None:  # fmt: skip
    clear = "pa$$ wörd"
    block = subprocess.run(
        ["gpg", "--homedir", str(gpg_home), "--batch", "--trust-model", "always", "-ear", "t@t"],
        input=clear.encode(), capture_output=True, check=True,
    ).stdout.decode()  # fmt: skip
    secret = manifest("Secret", "db", {"stringData": {"password": block, "url": f"mysql://u:{block.strip()}@db"}})
    keys = Keyring(gpg_home)
    outcome = roll(secret, keyring=keys)
    live = cluster.get(ObjectRef("v1", "Secret", namespace, "db"))
    assert live and base64.b64decode(live["data"]["password"]).decode() == clear
    assert base64.b64decode(live["data"]["url"]).decode() == f"mysql://u:{clear}@db"
    assert roll(secret, keyring=keys).writes == 0
    kept = "".join(file.read_text() for file in store.directory.iterdir())
    for text in (kept, str(outcome.as_dict()), "\n".join(lines)):
        assert "wörd" not in text and base64.b64encode(clear.encode()).decode() not in text
    wrong = manifest("ConfigMap", "c", {"data": {"password": block}})
    with pytest.raises(PillarboxError, match="only a Secret may"):
        roll(wrong, keyring=keys)


def test_status_tells_drift_and_what_is_missing(
    roll: Any, deployment: Build, manifest: Build, cluster: Cluster, namespace: str, kubelet: Any, keyring: Keyring
) -> None:
    model = [deployment("a"), manifest("ConfigMap", "c", {"data": {"k": "v"}})]
    roll(*model)
    # By another's hand, as kubectl edit would; the field manager is the name that the program gives itself.
    cluster._request(
        "PATCH",
        f"/api/v1/namespaces/{namespace}/configmaps/c",
        body={"data": {"k": "w"}},
        content_type="application/merge-patch+json",
    )
    states = status(cluster, [*model, deployment("b")], deployment=namespace, keyring=keyring)
    assert {item.ref.name: (item.state, item.detail) for item in states} == {
        "a": ("ok", "2 of 2 updated, 2 available"),
        "c": ("drifted", "data.k; set by pillarbox"),
        "b": ("missing", ""),
    }


def test_what_others_set_is_taken_back_and_told_by_name(
    roll: Any, deployment: Build, manifest: Build, cluster: Cluster, namespace: str, keyring: Keyring, lines: list[str]
) -> None:
    model = [manifest("ConfigMap", "c", {"data": {"k": "v", "other": "v"}})]
    roll(*model)
    live = model[0].object
    cluster.apply({**live, "data": {"k": "w"}}, manager="somebody")
    (state,) = status(cluster, model, deployment=namespace, keyring=keyring)
    assert (state.state, state.detail) == ("drifted", "data.k; set by somebody")
    (step,) = roll(*model, dry_run=True).steps
    assert step.taken == (("data.k", "somebody"),)
    outcome = roll(*model)
    assert outcome.succeeded and outcome.as_dict()["steps"][0]["taken"] == ["data.k from somebody"]
    assert any("ConfigMap" in line and line.endswith("updated; takes data.k from somebody") for line in lines)
    (step,) = roll(*model).steps
    assert (step.action, step.taken) == ("unchanged", ())


def test_an_api_server_that_restarts_does_not_fail_a_rollout(
    roll: Any, apiserver: Any, deployment: Build, cluster: Cluster, namespace: str, kubelet: Any, lines: list[str]
) -> None:
    roll(deployment("a"))

    def restart() -> None:
        apiserver.stop("kube-apiserver")
        apiserver.start("kube-apiserver")

    bounce = threading.Thread(target=restart)
    bounce.start()
    outcome = roll(deployment("a", "good:2"), deployment("b"))
    bounce.join()
    assert outcome.succeeded
    assert image(cluster, namespace, "a") == "good:2"
