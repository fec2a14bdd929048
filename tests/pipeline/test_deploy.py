"""``salt-run state.orchestrate orch.deploy``, for real: hosts, cluster, report, and exit codes that agree."""

from __future__ import annotations

import json
from typing import Any

import pytest
import salt.config as salt_config
from salt.utils.event import get_master_event
from tests.controlplane import ControlPlane
from tests.pipeline.support import Deployment, Salt, formulas

from pillarbox.pipeline import publish
from pillarbox.pipeline.git import Repository
from pillarbox.pipeline.record import RunKind, RunState
from pillarbox.rollout import Cluster
from pillarbox.rollout.objects import ObjectRef

ORCHESTRATE = ("state.orchestrate", "orch.deploy")


@pytest.fixture
def ready(deployment: Deployment, salt: Salt, model: dict[str, Any], apiserver: ControlPlane) -> Salt:
    """The first revision with the cluster's kubeconfig in it, built; the master serves none yet."""
    model["nodes/control.yml"]["parameters"]["kubernetes"]["control"]["kubeconfig"] = str(apiserver.kubeconfig)
    deployment.commit(model)
    deployment.push()
    assert deployment.finished(head(deployment)).succeeded
    return salt


def head(deployment: Deployment) -> str:
    return Repository(deployment.work).resolve("HEAD")


def deploys(deployment: Deployment) -> list[str]:
    """The ids of all runs that deployed, or tried to."""
    return [run.id for run in deployment.runs if run.kind == "deploy"]


def greet(deployment: Deployment, model: dict[str, Any], text: str) -> str:
    model["classes/cloud.yml"]["parameters"]["_param"]["greeting"] = text
    revision = deployment.commit(model)
    deployment.push()
    assert deployment.finished(revision).succeeded
    return revision


def greeting(apiserver: ControlPlane) -> str | None:
    with Cluster(apiserver.kubeconfig) as cluster:
        live = cluster.get(ObjectRef("v1", "ConfigMap", "default", "greeting"))
    return live["data"]["text"] if live else None


def test_deploy_reports_what_it_did(
    deployment: Deployment, ready: Salt, model: dict[str, Any], apiserver: ControlPlane
) -> None:
    file = deployment.root / "demo.txt"
    assert publish.current(deployment.places) != head(deployment), "a build alone is served to nobody"
    done = ready.run(*ORCHESTRATE)
    print(done.stdout, done.stderr)
    assert publish.current(deployment.places) == head(deployment)
    assert file.read_text().strip() == "hello" and greeting(apiserver) == "hello"
    report = deployment.runs.last("deploy")
    assert report and report.succeeded and report.revision == head(deployment)
    assert report.hosts == {"m1": "states applied"}
    assert "SUCCEEDED" in done.stderr and "ConfigMap default/greeting  (wave 0)" in done.stderr
    assert "unclosed" not in done.stderr, "Salt tells of its own objects around the report"
    assert (report.directory / "report.txt").stat().st_mode & 0o077 == 0

    # Again: no host changes, nothing is written.
    done = ready.run(*ORCHESTRATE)
    again = deployment.runs.last("deploy")
    assert again and again.succeeded and again.rollout["writes"] == 0 and again.hosts == {}

    # A dry run tells and does nothing.
    revision = greet(deployment, model, "goodbye")
    done = ready.run(*ORCHESTRATE, 'pillar={"dry_run": true}')
    assert "host m1 changes: demo.text" in done.stderr
    assert publish.current(deployment.places) != revision
    assert file.read_text().strip() == "hello" and greeting(apiserver) == "hello"
    dry = deployment.runs.last("deploy")
    assert dry and dry.dry_run and dry.rollout["writes"] == 1

    ready.run(*ORCHESTRATE)
    assert file.read_text().strip() == "goodbye" and greeting(apiserver) == "goodbye"
    newest = deployment.runs.last("deploy")
    assert newest and newest.revision == revision

    # An older revision, asked for by name, brings the hosts' pillar back as well.
    older = Repository(deployment.work).resolve("HEAD~1")
    ready.run(*ORCHESTRATE, "pillar=" + json.dumps({"revision": older}))
    assert file.read_text().strip() == "hello" and greeting(apiserver) == "hello"

    assert '"wrong": []' in ready.run("pillarbox.status", "--out=json", check=False).stdout.replace("\n", "")


def test_a_custom_resource_comes_and_goes_with_the_model(
    deployment: Deployment, ready: Salt, model: dict[str, Any], apiserver: ControlPlane
) -> None:
    schema = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    spec = {
        "group": "example.org",
        "scope": "Namespaced",
        "names": {"kind": "Backup", "plural": "backups"},
        "versions": [{"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}],
    }
    definition = {"api_version": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "body": {"spec": spec}}
    control = model["nodes/control.yml"]["parameters"]["kubernetes"]["control"]
    control["object"] = {
        "backups.example.org": definition,
        "nightly": {"api_version": "example.org/v1", "kind": "Backup", "body": {"spec": {"schedule": "daily"}}},
    }
    revision = deployment.commit(model)
    assert "Backup nightly: appears" in deployment.push().stderr
    assert deployment.finished(revision).succeeded
    done = ready.run(*ORCHESTRATE)
    assert "create  CustomResourceDefinition backups.example.org" in done.stderr
    assert "create  Backup default/nightly" in done.stderr
    assert '"wrong": []' in ready.run("pillarbox.status", "--out=json", check=False).stdout.replace("\n", "")

    del control["object"]
    revision = deployment.commit(model)
    deployment.push()
    assert deployment.finished(revision).succeeded
    done = ready.run(*ORCHESTRATE)
    assert "delete  Backup default/nightly" in done.stderr
    assert "CustomResourceDefinition backups.example.org: not in the model, all objects of its kind" in done.stderr


def test_failing_looks_like_failing(
    deployment: Deployment, ready: Salt, model: dict[str, Any], apiserver: ControlPlane
) -> None:
    # A manifest that the API server refuses: nothing is written.
    before = greeting(apiserver)
    control = model["nodes/control.yml"]["parameters"]["kubernetes"]["control"]
    control["service"] = {
        "web": {
            "service": "web",
            "role": "server",
            "kind": "Deployment",
            "replicas": 0,
            "container": {"web": {"image": "example.org/web", "tag": "1", "resources": {"requests": {"cpu": "much"}}}},
        }
    }
    model["classes/cloud.yml"]["parameters"]["_param"]["greeting"] = "refused"
    revision = deployment.commit(model)
    done = deployment.push(check=False)
    if done.returncode == 0:
        assert deployment.finished(revision).succeeded
        done = ready.run(*ORCHESTRATE, check=False)
        assert done.returncode != 0
        run = deployment.runs.last("deploy")
        assert run and run.state == "failed" and "FAILED" in done.stderr
        assert greeting(apiserver) == before
    del control["service"]

    # A host whose state fails: the cluster is not touched, and there is a report.
    deployment.commit({"formulas/demo/init.sls": "demo:\n  test.fail_without_changes: []\n"})
    greet(deployment, model, "half")
    done = ready.run(*ORCHESTRATE, check=False)
    assert done.returncode != 0
    run = deployment.runs.last("deploy")
    assert run and run.state == "failed" and "states of a host failed" in run.error
    assert run.hosts["m1"].startswith("failed: demo: Failure!"), run.hosts
    assert run.rollout is None
    assert greeting(apiserver) == before

    # Taken back, the model is what was deployed last; the host is not.
    deployment.commit(formulas(deployment.root))
    assert before
    greet(deployment, model, before)
    ready.run(*ORCHESTRATE)
    run = deployment.runs.last("deploy")
    assert run and run.succeeded and run.hosts == {"m1": "states applied"}

    # A runner by itself fails, too.
    assert ready.run("pillarbox.deploy", "revision=nonsense", check=False).returncode != 0
    done = ready.run(*ORCHESTRATE, 'pillar={"revision": "nonsense"}', check=False)
    assert done.returncode != 0 and "no revision nonsense" in done.stdout + done.stderr


@pytest.mark.parametrize(
    ("command", "says"),
    [
        (("state.orchestrate_show_sls", "orch.deploy"), "{revision}"),
        ((*ORCHESTRATE, "test=True"), "Runner function 'pillarbox.deploy' would be executed"),
    ],
    ids=["render", "test"],
)
def test_rendering_the_orchestration_does_nothing(
    deployment: Deployment, salt: Salt, model: dict[str, Any], command: tuple[str, ...], says: str
) -> None:
    """However often: nothing is published, nothing recorded, nothing said on the bus."""
    deployment.commit(formulas(deployment.root))
    first = greet(deployment, model, "rendered")
    greet(deployment, model, "rendered later")
    before, served = deploys(deployment), publish.current(deployment.places)
    options = salt_config.master_config(str(salt.root / "master" / "master"))
    with get_master_event(options, options["sock_dir"], listen=True) as bus:
        for _ in range(2):
            done = salt.run(*command, "pillar=" + json.dumps({"revision": first}))
            assert "pillarbox_deploy" in done.stdout and says.format(revision=first) in done.stdout
        while event := bus.get_event(wait=1, full=True):
            # The build's own events may come late.
            assert (event["tag"], event["data"].get("kind")) != ("pillarbox/report", "deploy"), event
            assert "pillarbox.deploy" not in str(event["data"].get("fun")), event
    assert publish.current(deployment.places) == served
    assert deploys(deployment) == before


def test_an_unreachable_cluster_fails_with_its_address(
    deployment: Deployment, salt: Salt, model: dict[str, Any], tmp_path: Any
) -> None:
    control = model["nodes/control.yml"]["parameters"]["kubernetes"]["control"]
    control["kubeconfig"] = str(tmp_path / "nowhere")
    deployment.commit(formulas(deployment.root))
    revision = greet(deployment, model, "x")
    done = salt.run(*ORCHESTRATE, check=False)
    assert done.returncode != 0
    run = deployment.runs.last("deploy")
    assert run and "no kubeconfig at" in run.error
    # What went wrong stands at the end of the report; Salt's own return is short, and nothing else is around them.
    assert done.stderr.rstrip().endswith(run.as_text().rstrip()) and "Warning" not in done.stderr, done.stderr
    returned = done.stdout.partition("return:")[2].partition("Summary")[0].split()
    assert [word for word in returned if word.endswith(":")] == ["comment:", "report:", "result:", "retcode:"]
    assert "Name it in the model" not in done.stdout
    # Hosts come first, also on a master that has served nothing before.
    assert run.hosts == {"m1": "states applied"}
    assert publish.current(deployment.places) == revision


def test_a_host_that_leaves_the_model_loses_its_key(deployment: Deployment, ready: Salt, model: dict[str, Any]) -> None:
    with_host = deployment.commit({"nodes/gone.yml": {"parameters": {"salt": {"minion": {"enabled": True}}}}})
    deployment.push()
    assert deployment.finished(with_host).succeeded
    # As if the host had been there.
    deployment.runs.start(RunKind.DEPLOY, with_host, "Ann").finish(RunState.SUCCEEDED)
    keys = ready.root / "m/etc/salt/pki/master/minions"
    (keys / "gone").write_bytes((keys / "m1").read_bytes())
    (ready.root / "pki/host/gone").mkdir(parents=True)
    without = deployment.commit({"nodes/gone.yml": None})
    deployment.push()
    assert deployment.finished(without).succeeded
    ready.run(*ORCHESTRATE, 'pillar={"dry_run": true}')
    tried = deployment.runs.last("deploy")
    assert tried and tried.hosts == {"gone": "would be removed"}
    assert (keys / "gone").exists()
    ready.run(*ORCHESTRATE)
    report = deployment.runs.last("deploy")
    assert report and report.succeeded and report.hosts == {"gone": "removed: its key and certificates are forgotten"}
    assert [key.name for key in keys.iterdir()] == ["m1"]
    assert not (ready.root / "pki/host/gone").exists()
