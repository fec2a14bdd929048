"""Hosts are updated stage by stage, and a node of the cluster by itself: on a real master, minions and API server."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import pytest
from tests import programs
from tests.controlplane import ControlPlane
from tests.pipeline.conftest import _deployment
from tests.pipeline.support import MODEL, Deployment, Salt, _command

from pillarbox.pipeline.record import Run
from pillarbox.rollout import Cluster, ObjectRef
from pillarbox.salt.hosts import SILENT
from pillarbox.system.waiting import until

NODE = "staged"
#: Fails on the host whose name is the greeting; goes on for as long as there is a file of the host's name.
STATES = """\
demo:
  file.managed:
  - name: {root}/{{{{ grains.id }}}}.txt
  - contents_pillar: demo:text
held:
  cmd.run:
  - name: while test -e {root}/{{{{ grains.id }}}}; do sleep 0.2; done
{{% if pillar.demo.text == grains.id %}}
broken:
  test.fail_without_changes: []
{{% endif %}}
"""


@pytest.fixture(scope="module")
def model(apiserver: ControlPlane) -> dict[str, Any]:
    """m1, and after it m2, which is a node of the cluster."""
    model: dict[str, Any] = json.loads(json.dumps(MODEL))
    model["nodes/control.yml"]["parameters"]["kubernetes"]["control"]["kubeconfig"] = str(apiserver.kubeconfig)
    model["nodes/m2.yml"] = json.loads(json.dumps(model["nodes/m1.yml"]))
    drain = {"node": NODE, "kubeconfig": str(apiserver.kubeconfig)}
    update = {"stage": 1, "alone": ["demo:text"], "drain": drain, "step_by_step": ["demo:version"]}
    model["nodes/m2.yml"]["parameters"]["demo"]["version"] = "1.35.4"
    model["nodes/m2.yml"]["parameters"]["pillarbox"] = {"update": update}
    return model


@pytest.fixture(scope="module")
def salt(model: dict[str, Any], apiserver: ControlPlane) -> Iterator[Salt]:
    with _deployment() as fresh, Cluster(apiserver.kubeconfig) as cluster:
        metadata = {"name": NODE, "labels": {"kubernetes.io/hostname": NODE}}
        cluster.apply({"apiVersion": "v1", "kind": "Node", "metadata": metadata})
        daemons = Salt(fresh, ("m1", "m2"))
        try:
            fresh.commit({**model, "formulas/demo/init.sls": STATES.format(root=fresh.root)})
            fresh.push()
            yield daemons.up()
        finally:
            daemons.close()
            cluster.delete(ObjectRef("v1", "Node", "", NODE))


def built(deployment: Deployment, model: dict[str, Any], text: str) -> tuple[str, str]:
    """The revision of a new greeting, which is built, and what the push said."""
    model["classes/cloud.yml"]["parameters"]["_param"]["greeting"] = text
    revision = deployment.commit(model)
    said = deployment.push().stderr
    assert deployment.finished(revision).succeeded
    return revision, said


def deployed(deployment: Deployment, salt: Salt, model: dict[str, Any], text: str) -> tuple[str, Run]:
    """What the push said of a new greeting, and its deploy."""
    revision, said = built(deployment, model, text)
    salt.run("state.orchestrate", "orch.deploy", check=False)
    run = deployment.runs.last("deploy")
    assert run and run.revision == revision
    return said, run


@contextmanager
def deploying(salt: Salt) -> Iterator[subprocess.Popen[bytes]]:
    """A deploy that goes on; what is left of it at the end is killed."""
    command = [_command("salt-run"), "-c", str(salt.root / "master"), "state.orchestrate", "orch.deploy"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, start_new_session=True) as process:
        try:
            yield process
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


def on_record(deployment: Deployment, revision: str, hosts: dict[str, str]) -> bool:
    """Whether a deploy of the revision goes on, and has come so far."""
    run = deployment.runs.last("deploy")
    return bool(run and (run.state, run.revision, run.hosts) == ("running", revision, hosts))


def takes_pods(apiserver: ControlPlane) -> bool:
    with Cluster(apiserver.kubeconfig) as cluster:
        found = cluster.get(ObjectRef("v1", "Node", "", NODE))
    assert found
    return not found["spec"].get("unschedulable")


def test_stage_by_stage(deployment: Deployment, salt: Salt, model: dict[str, Any], apiserver: ControlPlane) -> None:
    files = [deployment.root / f"{name}.txt" for name in ("m1", "m2")]
    _, run = deployed(deployment, salt, model, "first")
    assert run.succeeded and run.hosts == {"m1": "states applied", "m2": "states applied"}

    said, run = deployed(deployment, salt, model, "second")
    print(said)
    assert f"m2: by itself, pods move off node {NODE} first (demo.text)" in said
    assert run.succeeded and [file.read_text().strip() for file in files] == ["second", "second"]
    assert files[0].stat().st_mtime_ns < files[1].stat().st_mtime_ns
    assert takes_pods(apiserver)

    # A host of an earlier stage fails: the node is not touched.
    _, run = deployed(deployment, salt, model, "m1")
    assert run.state == "failed" and run.hosts["m1"].startswith("failed") and run.hosts["m2"] == "not reached"
    assert takes_pods(apiserver)
    # A trial is to find all that is wrong, so it asks the others too.
    salt.run("state.orchestrate", "orch.deploy", 'pillar={"dry_run": true}', check=False)
    trial = deployment.runs.last("deploy")
    assert trial and trial.dry_run and trial.hosts["m1"].startswith("failed") and trial.hosts["m2"] == "would change"
    assert takes_pods(apiserver)

    # The node fails: it takes no pods until all is well, even where the model is what it was before.
    _, run = deployed(deployment, salt, model, "m2")
    assert run.state == "failed" and run.hosts["m1"] == "states applied" and run.hosts["m2"].startswith("failed")
    assert not takes_pods(apiserver)
    _, run = deployed(deployment, salt, model, "second")
    assert run.succeeded and run.hosts == {"m1": "states applied", "m2": "states applied"}
    assert takes_pods(apiserver)


@pytest.mark.parametrize("what", ["deploy", "host"])
def test_an_update_that_is_cut_off_is_carried_on(
    deployment: Deployment, salt: Salt, model: dict[str, Any], apiserver: ControlPlane, what: str
) -> None:
    revision, _ = built(deployment, model, f"{what} dies")
    # What keeps the states of m2 from ending.
    holds = deployment.root / "m2"
    holds.touch()
    middle = {"m1": "states applied", "m2": "states being applied"}
    with deploying(salt) as process:
        assert until(lambda: on_record(deployment, revision, middle), "m2 is changed", patience=120)
        assert until((deployment.root / "m2.txt").exists, "its states run", patience=60)
        if what == "host":
            salt.kill("m2")
            assert process.wait(120) != 0
    run = deployment.runs.last("deploy")
    assert run and not run.succeeded
    assert run.hosts == {**middle, "m2": f"failed: {SILENT}"} if what == "host" else middle
    assert not takes_pods(apiserver)
    wrong = json.loads(salt.run("pillarbox.status", "--out=json", check=False).stdout)["wrong"]
    assert ["takes no new pods until a deploy finds" in each["detail"] for each in wrong if each["name"] == NODE] == [
        True
    ]

    # What was left running ends first; who is well is left alone.
    if what == "host":
        salt.start("m2")
        salt.ready()
    with deploying(salt) as process:
        assert until(
            lambda: on_record(deployment, revision, {"m2": "states being applied"}), "another one", patience=120
        )
        holds.unlink()
        assert process.wait(120) == 0
    run = deployment.runs.last("deploy")
    assert run and run.succeeded and run.hosts == {"m2": "states applied"}
    assert takes_pods(apiserver)


def test_a_clock_that_is_wrong_is_told_before_anything_is_changed(
    deployment: Deployment, salt: Salt, model: dict[str, Any], apiserver: ControlPlane
) -> None:
    root = programs.debian_root("libfaketime")
    if root is None:
        pytest.skip("apt has no libfaketime here")
    (library,) = root.rglob("libfaketime.so.1")
    _, run = deployed(deployment, salt, model, "in time")
    assert run.succeeded
    salt.kill("m2")
    salt.start("m2", LD_PRELOAD=str(library), FAKETIME="-300", FAKETIME_DONT_FAKE_MONOTONIC="1")
    salt.ready()
    try:
        _, run = deployed(deployment, salt, model, "late")
    finally:
        salt.kill("m2")
        salt.start("m2")
        salt.ready()
    assert run.state == "failed" and "no host was changed: m2 has a clock 4m5" in run.error
    assert run.hosts["m1"] == "not reached" and run.hosts["m2"].startswith("not reached: it has a clock 4m5")
    assert (deployment.root / "m1.txt").read_text().strip() == "in time"
    salt.run("state.orchestrate", "orch.deploy")


def test_a_version_that_skips_one_is_refused_when_it_is_pushed(
    deployment: Deployment, salt: Salt, model: dict[str, Any]
) -> None:
    _, run = deployed(deployment, salt, model, "well")
    assert run.succeeded
    # What was pushed and not deployed may be taken back; what was deployed may not, though it failed.
    for version, refused, fails in (
        ("1.37.2", "from 1.35.4 to 1.37.2: it goes up by one minor version", False),
        ("1.36.3", "", None),
        ("1.35.5", "", None),
        ("1.36.3", "", True),
        ("1.35.5", "from 1.36.3 to 1.35.5: it does not go back", None),
        ("1.37.2", "from 1.35.4 to 1.37.2", None),
        ("1.36.4", "", False),
        ("1.37.2", "", None),
    ):
        model["nodes/m2.yml"]["parameters"]["demo"]["version"] = version
        model["classes/cloud.yml"]["parameters"]["_param"]["greeting"] = "m2" if fails else "well"
        revision = deployment.commit(model)
        done = deployment.push(check=False)
        assert (done.returncode == 0) is not bool(refused), done.stderr
        assert not refused or (f"host m2: demo:version goes {refused}" in done.stderr and "nodes/m2.yml" in done.stderr)
        if fails is not None and not refused:
            assert deployment.finished(revision).succeeded
            salt.run("state.orchestrate", "orch.deploy", check=False)
            run = deployment.runs.last("deploy")
            assert run and (run.revision, run.succeeded) == (revision, not fails)
