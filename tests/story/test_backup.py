"""What is lost comes back from a backup: the database with its volume, etcd, the master's keys."""

from __future__ import annotations

import json

import pytest
from tests.story.lab import Lab
from tests.story.test_database import POD, in_pod
from tests.story.test_story import workloads
from tests.story.test_story_rotation import keystone

from pillarbox.model import Inventory
from pillarbox.system.waiting import until

pytestmark = pytest.mark.lab

PATIENCE = 300.0


def projects(lab: Lab) -> dict[str, str]:
    """The ids of the cloud's projects, by name."""
    listed = keystone(lab, "GET", "/projects", lab.load().token(lab.addresses[0]))
    return {each["name"]: each["id"] for each in listed["projects"]}


def make_project(lab: Lab, name: str) -> None:
    # In a lab that is kept it may be there from the run before.
    if name not in projects(lab):
        body = {"project": {"name": name, "domain_id": "default"}}
        keystone(lab, "POST", "/projects", lab.load().token(lab.addresses[0]), body)


def wait_for_requests(lab: Lab) -> None:
    """Until every service answers without a failure for some seconds."""

    def answered() -> bool:
        with lab.load() as load:
            until(lambda: all(tally.sent > 3 for tally in load.tallies.values()), "requests", patience=30)
        return all(tally.sent and not tally.failures for tally in load.tallies.values())

    assert until(answered, "the services to answer", patience=PATIENCE, every=1)


def wait_for_pod(lab: Lab) -> None:
    ready = "jsonpath={.status.conditions[?(@.type=='Ready')].status}"
    assert until(
        lambda: lab.kubectl("get", "pod", POD, "-o", ready, check=False).stdout.strip() == "True",
        f"{POD} to be ready",
        patience=PATIENCE,
        every=2,
    )


def test_the_database_is_destroyed_and_brought_back(lab: Lab) -> None:
    make_project(lab, "backed-up")
    said = lab.orchestrate("orch.backup")
    made = lab.backups()[-1]
    assert set(made["archives"]) == {"etcd", "mariadb-server", "master"} and not made["failed"]
    assert made["id"] in said
    modes = lab.on("cfg01", "find", "/var/lib/pillarbox/backups", "-perm", "/077").stdout
    assert modes == "", "archives hold secrets"
    make_project(lab, "made-later")

    parameters = Inventory(lab.model).node("cfg01").parameters["_param"]
    lab.on(parameters["mariadb_host"], "sh", "-c", f"rm -rf {parameters['mariadb_volume']}/* && ls -A /")
    lab.kubectl("delete", "pod", POD, "--grace-period=0", "--force")
    wait_for_pod(lab)
    assert "keystone" not in in_pod(lab, "ls", "/var/lib/mysql")[1], "it is lost"

    trial = lab.orchestrate("orch.restore", data="mariadb-server", backup=made["id"], dry_run=True)
    assert made["id"] in trial and "keystone" not in in_pod(lab, "ls", "/var/lib/mysql")[1]
    said = lab.orchestrate("orch.restore", data="mariadb-server", backup=made["id"])
    assert "restored: " in said and "keystone" in said
    lab.orchestrate("orch.deploy")
    wait_for_requests(lab)
    found = projects(lab)
    assert "backed-up" in found and "made-later" not in found
    status = json.loads(lab.on("cfg01", "salt-run", "--out=json", "pillarbox.status").stdout)
    assert status["wrong"] == []


def test_a_dump_that_is_not_whole_changes_nothing(lab: Lab) -> None:
    before = projects(lab)
    code, said = in_pod(lab, "sh", "-c", "mariadb-data dump | head -c 100000 | mariadb-data restore")
    assert code != 0 and "no whole dump" in said
    assert projects(lab) == before
    assert in_pod(lab, "ls", "-A", "/var/lib/mysql/.restore")[0] != 0, "what had come is gone"


def test_what_the_model_does_not_back_up_is_told(lab: Lab) -> None:
    said = lab.orchestrate("orch.restore", check=False, data="mariadb")
    assert "does not say how to back up mariadb" in said and "mariadb-server" in said
    said = lab.orchestrate("orch.restore", check=False, data="etcd", backup="yesterday")
    assert "no backup yesterday of etcd" in said


def test_etcd_is_brought_back_and_no_request_fails(lab: Lab) -> None:
    before = workloads(lab)
    lab.kubectl("create", "configmap", "backed-up")
    lab.orchestrate("orch.backup", only=["etcd"])
    lab.kubectl("delete", "configmap", "backed-up")
    lab.kubectl("create", "configmap", "made-later")
    with lab.load() as load:
        said = lab.orchestrate("orch.restore", data="etcd")
    print(json.dumps({name: tally.as_dict() for name, tally in load.tallies.items()}))
    assert "kmst01: states applied" in said
    for name, tally in load.tallies.items():
        assert tally.failures == [], f"{name}: {len(tally.failures)} of {tally.sent} requests failed"
    assert lab.kubectl("get", "configmap", "backed-up", check=False).returncode == 0
    assert lab.kubectl("get", "configmap", "made-later", check=False).returncode != 0
    lab.kubectl("delete", "configmap", "backed-up")
    assert workloads(lab) == before

    # Controllers and hosts follow the data that came back, and not what they remember.
    old = {pod["metadata"]["uid"] for pod in lab.objects("pod", "app=memcached-server")}
    lab.kubectl("delete", "pod", "-l", "app=memcached-server", "--wait=false")

    def replaced() -> bool:
        pods = lab.objects("pod", "app=memcached-server")
        ready = [
            pod["metadata"]["uid"]
            for pod in pods
            if any(each["type"] == "Ready" and each["status"] == "True" for each in pod["status"]["conditions"])
        ]
        return len(ready) == len(old) and not old & set(ready)

    assert until(replaced, "memcached's pods to be replaced", patience=PATIENCE, every=2)
    lab.orchestrate("orch.deploy")
    wait_for_requests(lab)
    left = lab.on("kmst01", "sh", "-c", "ls -d /var/lib/etcd/member.before-* && rm -rf /var/lib/etcd/member.before-*")
    assert left.stdout.strip(), "what was there stays beside it"
    assert lab.on("cfg01", "find", "/srv/pillarbox/staging/restore", "-type", "f").stdout == ""


def test_the_masters_keys_are_lost_and_brought_back(lab: Lab) -> None:
    lab.orchestrate("orch.backup", only=["master"])
    places = ("/etc/salt/gpgkeys", "/var/lib/pillarbox/pki")
    keys = ("find", *places, "-type", "f", "!", "-name", "*lock*", "-printf", "%p %m %u\\n")
    before = sorted(lab.on("cfg01", *keys).stdout.splitlines())
    assert before
    lab.on("cfg01", "gpgconf", "--homedir", places[0], "--kill", "all")
    lab.on("cfg01", "rm", "-r", *places)
    assert lab.orchestrate("orch.deploy", check=False).count("no key ring at /etc/salt/gpgkeys")
    lab.orchestrate("orch.restore", data="master")
    assert set(before) <= set(lab.on("cfg01", *keys).stdout.splitlines())
    lab.orchestrate("orch.deploy")
    wait_for_requests(lab)
