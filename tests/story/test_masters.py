"""One Kubernetes master becomes three by three lines, each of them may be lost, and three become one again.

A lab of its own, since masters of a lab that others use must not come and go. Requests to the services go on all the
time; so do those to the API server, but for the seconds in which its address moves.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
from tests.knobs import three_masters
from tests.story.conftest import LabOf
from tests.story.lab import COMMAND, Lab, run
from tests.story.test_story import clone, git, push
from tests.story.test_underlay import ETCDCTL

from pillarbox.system.waiting import until

__all__ = ["clone"]

pytestmark = [pytest.mark.lab, pytest.mark.long]

NAME, PREFIX = "pillarbox-test-masters", "172.30.26"
ADDRESS = f"{PREFIX}.250"
MASTERS = ["kmst01", "kmst02", "kmst03"]
PATIENCE = 600.0


@pytest.fixture(scope="module")
def lab(lab_of: LabOf) -> Iterator[Lab]:
    """A lab with one master, to begin with."""
    with lab_of(NAME, PREFIX) as lab:
        yield lab


def repaired(lab: Lab) -> None:
    """What ``make lab`` does: hosts of the model that are not there are made."""
    assert run([*COMMAND, "--model", str(lab.model), "lab", "--name", lab.name, "up"]).returncode == 0


def voters(lab: Lab, through: str) -> dict[str, int]:
    """The members of etcd that have a vote and answer, by their names, as one of them knows them."""
    listed = lab.on(through, *ETCDCTL, "member", "list", "--write-out=json", check=False)
    if listed.returncode:
        return {}
    members = json.loads(listed.stdout)["members"]
    healthy = lab.on(through, *ETCDCTL, "endpoint", "health", "--cluster", check=False)
    if healthy.returncode or any(each.get("isLearner") for each in members):
        return {}
    return {each["name"]: each["ID"] for each in members}


def settled(lab: Lab, *names: str) -> dict[str, int]:
    """Wait until these are etcd's members; their ids."""
    found: dict[str, int] = {}

    def so() -> bool:
        found.clear()
        found.update(voters(lab, names[0]))
        return sorted(found) == sorted(names)

    assert until(so, f"etcd of {', '.join(names)}", patience=PATIENCE, every=2)
    return found


def answered() -> bool:
    """Whether an API server answers at the address of all: that it knows nobody who shows no certificate."""
    try:
        return requests.get(f"https://{ADDRESS}:6443/version", verify=False, timeout=2).status_code == 401
    except requests.RequestException:
        return False


def holder(lab: Lab) -> list[str]:
    """The masters that have the address."""
    return [
        name
        for name in MASTERS
        if f" {ADDRESS}/" in lab.on(name, "ip", "-4", "-oneline", "address", check=False).stdout
    ]


def renewed(lab: Lab) -> str:
    """When the controller manager that leads said so."""
    lease = ("-n", "kube-system", "get", "lease", "kube-controller-manager")
    return lab.kubectl(*lease, "-o", "jsonpath={.spec.renewTime}", check=False).stdout


def writes(lab: Lab) -> None:
    """Once a controller manager leads, the API server takes what it is given, and nodes hear of it."""
    before = renewed(lab)
    assert until(lambda: renewed(lab) not in ("", before), "a controller manager leads", patience=60)
    name = lab.objects("pods", "app=placement-server")[0]["metadata"]["name"]
    lab.kubectl("delete", "pod", name)
    lab.kubectl("rollout", "status", "deployment/placement-server", "--timeout=300s")


def test_one_master_becomes_three_by_three_lines(lab: Lab, clone: Path) -> None:
    first = settled(lab, "kmst01")
    three_masters(clone)
    with lab.load() as load:
        said = push(clone, "Three masters")
        assert re.search(r"kmst01: .*by itself", said) and "kmst02" in said
        repaired(lab)
        lab.deploy()
    members = settled(lab, *MASTERS)
    assert members["kmst01"] == first["kmst01"], "its data is the cluster's"
    assert until(answered, f"the API server at {ADDRESS}", patience=60)
    for host in lab.objects("nodes"):
        used = lab.on(host["metadata"]["name"], "grep", "server:", "/etc/kubernetes/kubelet.conf").stdout
        assert f"https://{ADDRESS}:6443" in used
    assert lab.on("cfg01", "salt-run", "pillarbox.status", check=False).returncode == 0
    load.none_failed()


def test_the_master_with_the_address_is_away(lab: Lab) -> None:
    (name,) = holder(lab)
    with lab.load() as load, lab.off(name):
        assert until(answered, "another master has the address", patience=60)
        writes(lab)
        # As if nothing were amiss.
        lab.deploy()
    settled(lab, *MASTERS)
    assert len(holder(lab)) == 1 and holder(lab) != [name], "it keeps away from the address when it is back"
    load.none_failed()


def test_a_master_that_is_lost_is_replaced_by_an_empty_host(lab: Lab) -> None:
    before = settled(lab, *MASTERS)
    with lab.load() as load:
        lab.lose("kmst02")
        assert until(answered, "another master has the address", patience=60)
        repaired(lab)
        after = settled(lab, *MASTERS)
        writes(lab)
    assert after["kmst02"] != before["kmst02"], "it joined as a new member"
    load.none_failed()


def test_a_member_of_etcd_without_its_data_joins_again(lab: Lab) -> None:
    before = settled(lab, *MASTERS)
    with lab.load() as load:
        lab.on("kmst03", "sh", "-ec", "systemctl stop etcd; rm -r /var/lib/etcd/member/member")
        assert until(answered, "the other masters", patience=60)
        writes(lab)
        lab.on("cfg01", "salt", "kmst03", "state.highstate")
        after = settled(lab, *MASTERS)
    assert after["kmst03"] != before["kmst03"]
    load.none_failed()


def test_three_masters_become_one(lab: Lab, clone: Path) -> None:
    git(clone, "pull", "--quiet")
    for name in MASTERS[1:]:
        (clone / f"nodes/hosts/{name}.yml").unlink()
    with lab.load() as load:
        for name in MASTERS[1:]:
            lab.on("cfg01", "salt", name, "service.stop", "keepalived")
        push(clone, "One master")
        lab.deploy()
        settled(lab, "kmst01")
        repaired(lab)
        for name in MASTERS[1:]:
            lab.command("remove", name)
        assert until(answered, "the one that is left has the address", patience=60)
        writes(lab)
        lab.deploy()
    load.none_failed()
