"""What dies in the middle of things comes back, and nothing that was asked for is lost."""

from __future__ import annotations

import json
import secrets
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.story.lab import COMMAND, Lab
from tests.story.test_story import change, clone, git, push, workloads

__all__ = ["clone"]

pytestmark = pytest.mark.lab


def wait(what: str, ready: Callable[[], bool], seconds: float = 300) -> None:
    """Wait for a condition; fail when it does not come true in time."""
    deadline = time.monotonic() + seconds
    while not ready():
        assert time.monotonic() < deadline, f"still not so after {seconds:.0f}s: {what}"
        time.sleep(1)


def push_detached(clone: Path) -> subprocess.Popen[bytes]:
    """A push that nobody waits for: its hook follows the build while the test goes on. What it says is beside the
    clone, in pushed.log."""
    with clone.with_name("pushed.log").open("wb") as log:
        return subprocess.Popen(["git", "-C", str(clone), "push"], stdout=log, stderr=log)


def built(lab: Lab) -> str:
    """The newest revision whose build succeeded."""
    runs = json.loads(lab.on("cfg01", "pillarbox", "report", "--list", "--format", "json").stdout)
    return str([run["revision"] for run in runs if (run["kind"], run["state"]) == ("build", "succeeded")][-1])


def healthy(lab: Lab, service: str, replicas: int = 2) -> bool:
    pods = lab.objects("pod", f"app={service}")
    ready = [
        p for p in pods for c in p["status"].get("conditions", ()) if (c["type"], c["status"]) == ("Ready", "True")
    ]
    return len(ready) == len(pods) == replicas


def test_a_killed_pod_is_replaced_and_no_request_fails(lab: Lab) -> None:
    pod = lab.objects("pod", "app=keystone-server")[0]["metadata"]["name"]
    with lab.load() as load:
        lab.kubectl("delete", "pod", pod, "--wait=false")
        wait("keystone has two ready pods, the deleted one gone", lambda: healthy(lab, "keystone-server"))
    load.none_failed()


def test_a_killed_kubelet_comes_back(lab: Lab) -> None:
    lab.on("ctl02", "systemctl", "kill", "--signal=SIGKILL", "kubelet")
    wait(
        "the kubelet of ctl02 runs",
        lambda: lab.on("ctl02", "systemctl", "is-active", "kubelet", check=False).returncode == 0,
    )

    def ready() -> bool:
        nodes = {node["metadata"]["name"]: node["status"]["conditions"] for node in lab.objects("node")}
        return all(
            condition["status"] == "True"
            for conditions in nodes.values()
            for condition in conditions
            if condition["type"] == "Ready"
        )

    wait("all nodes are Ready", ready)
    lab.deploy()


def test_an_interrupt_reaches_the_command_on_the_host(lab: Lab) -> None:
    def running() -> bool:
        return bool(lab.on("ctl01", "pgrep", "--full", "sleep 42[4]2", check=False).stdout.strip())

    command = [*COMMAND, "--model", str(lab.model), "lab", "--name", lab.name, "exec", "ctl01", "--", "sleep", "4242"]
    process = subprocess.Popen(command)
    wait("the command runs", running)
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=60) == 130
    assert not running()


def test_a_push_while_the_master_is_down_is_built_when_it_starts(lab: Lab, clone: Path) -> None:
    lab.on("cfg01", "systemctl", "stop", "salt-master")
    try:
        change(clone, "classes/cluster/lab/init.yml", "cluster_name: lab", "cluster_name: lab # touched")
        git(clone, "commit", "--quiet", "--all", "--message", "While the master is away")
        # The hook would wait for the master; the push itself is in as soon as git says so.
        pushed = push_detached(clone)
        revision = git(clone, "rev-parse", "HEAD").stdout.strip()
        wait(
            "the push is in the repository",
            lambda: (
                revision
                in lab.on("cfg01", "git", "--git-dir=/srv/pillarbox/model.git", "rev-parse", "main", check=False).stdout
            ),
        )
    finally:
        lab.on("cfg01", "systemctl", "start", "salt-master")
    wait("the revision is built", lambda: built(lab) == revision)
    pushed.wait(timeout=120)
    git(clone, "fetch", "--quiet")


def test_a_master_killed_during_a_build_builds_on(lab: Lab, clone: Path) -> None:
    before = workloads(lab)["keystone-server"]
    sls = clone / "formulas/memcached/server.sls"
    # A comment changes the content key, and so makes a build: in a lab that was kept, too.
    sls.write_text(f"{sls.read_text()}\n# {secrets.token_hex(8)}\n")
    git(clone, "add", "--all")
    git(clone, "commit", "--quiet", "--message", "Build memcached again")
    pushed = push_detached(clone)
    revision = git(clone, "rev-parse", "HEAD").stdout.strip()
    wait(
        "the build runs",
        lambda: "running" in lab.on("cfg01", "pillarbox", "report", "--list", check=False).stdout.splitlines()[-1],
    )
    lab.on("cfg01", "systemctl", "kill", "--signal=SIGKILL", "salt-master")
    wait("the revision is built", lambda: built(lab) == revision)
    pushed.wait(timeout=120)
    lab.deploy()
    assert workloads(lab)["keystone-server"] == before


def test_a_builder_killed_during_a_build_builds_again(lab: Lab, clone: Path) -> None:
    git(clone, "pull", "--quiet")
    sls = clone / "formulas/memcached/server.sls"
    whole = sls.read_text()
    # Long enough to be killed in the middle of.
    sls.write_text(f"{whole}\n# {secrets.token_hex(8)}\nslow:\n  cmd.run:\n  - name: sleep 20\n")
    git(clone, "commit", "--quiet", "--all", "--message", "Build memcached slowly")
    pushed = push_detached(clone)
    revision = git(clone, "rev-parse", "HEAD").stdout.strip()
    wait(
        "the state runs in the builder's container",
        lambda: "sleep 20" in lab.on("cfg01", "pgrep", "--full", "--list-full", "sleep 20$", check=False).stdout,
    )
    lab.on("cfg01", "systemctl", "kill", "--signal=SIGKILL", "salt-minion")
    wait("the revision is built", lambda: built(lab) == revision)
    pushed.wait(timeout=120)
    report = lab.on("cfg01", "pillarbox", "report").stdout
    left = lab.on("cfg01", "docker", "ps", "--quiet", "--filter", "name=pillarbox-build").stdout.strip()
    sls.write_text(whole)
    push(clone, "As before")
    assert "SUCCEEDED" in report
    assert not left
    said = clone.with_name("pushed.log").read_text()
    assert "memcached-server: cfg01 lost the build; starting it again" in said
    assert "still: memcached-server: " in said


def test_a_build_that_fails_leaves_the_last_good_revision(lab: Lab, clone: Path) -> None:
    git(clone, "pull", "--quiet")
    good = built(lab)
    before = workloads(lab)
    sls = clone / "formulas/memcached/server.sls"
    whole = sls.read_text()
    sls.write_text(whole + "\nbroken:\n  cmd.run:\n  - name: /bin/false\n")
    said = push(clone, "A state that fails")
    newest = built(lab)
    lab.deploy()
    after = workloads(lab)
    sls.write_text(whole)
    push(clone, "Mend it")
    lab.deploy()
    assert "memcached-server" in said
    assert "broken" in said
    assert newest == good
    assert after == before
