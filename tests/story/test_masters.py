"""One Kubernetes master becomes three, each of them may be lost, and three become one again.

A lab of its own, since masters of a lab that others use must not come and go. It begins with the oldest Kubernetes that
can be compiled, and goes to the next with one master, while a node dies, and to the newest with three. Requests to the
services go on all the time; so do those to the API server, but for the seconds in which its address moves.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
from tests import compile
from tests.knobs import three_masters
from tests.story.conftest import LabOf
from tests.story.lab import APPLIED, APPLYING, COMMAND, KNOBS, Lab, change, run
from tests.story.test_story import clone, git, push
from tests.story.test_underlay import ETCDCTL, NODES
from tests.story.test_upgrade_faults import none_started_again, restarts

from pillarbox.system.waiting import until

__all__ = ["clone"]

# The first of them may have to compile.
pytestmark = [pytest.mark.lab, pytest.mark.long, pytest.mark.timeout(5400)]

NAME, PREFIX = "pillarbox-test-masters", "172.30.26"
ADDRESS = f"{PREFIX}.250"
MASTERS = ["kmst01", "kmst02", "kmst03"]
PATIENCE = 600.0
VERSIONS = compile.pinned("kubernetes")
LINE = r"kubernetes_version: \S+"


@pytest.fixture(scope="module")
def lab(lab_of: LabOf) -> Iterator[Lab]:
    """A lab with one master and the oldest version, to begin with."""
    for each in VERSIONS:
        compile.kept("kubernetes", "kubelet", each)
    with lab_of(NAME, PREFIX, lambda model: change(model / KNOBS, LINE, f"kubernetes_version: {VERSIONS[0]}")) as lab:
        yield lab


def apiservers(lab: Lab, *masters: str) -> set[str]:
    """The versions of the API servers that run."""
    program = "/proc/$(systemctl show --property=MainPID --value kube-apiserver)/exe"
    return {lab.on(name, "sh", "-c", f'"{program}" --version').stdout.split()[-1].strip("v") for name in masters}


def name_version(clone: Path, version: str) -> str:
    """Change the one line and push it; what the push said."""
    git(clone, "pull", "--quiet")
    change(clone / KNOBS, LINE, f"kubernetes_version: {version}")
    return push(clone, f"Kubernetes {version}")


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


def test_a_node_dies_while_the_next_version_comes(lab: Lab, clone: Path) -> None:
    """Until it is back, there are nodes of both versions; the deploy after that goes on where it was stopped."""
    old, new = VERSIONS[:2]
    assert {*lab.kubelets().values()} == apiservers(lab, "kmst01") == {old}
    said = name_version(clone, new)
    assert "kmst01: by itself" in said and "ctl02: by itself, pods move off node ctl02 first" in said
    with lab.load(away="ctl02") as load:
        with lab.deploying() as deploy:
            lab.wait_for(deploy, "ctl02", APPLYING)
            with lab.off("ctl02"):
                assert deploy.end() != 0
                assert "ctl02: failed: it gave no answer" in deploy.said
                found = lab.kubelets()
                assert (found["ctl01"], found["ctl03"]) == (new, old) and apiservers(lab, "kmst01") == {new}
                load.asked()
        lab.deploy()
    assert lab.report()["hosts"] == dict.fromkeys(("ctl02", "ctl03", "cfg01"), APPLIED)
    assert {*lab.kubelets().values()} == {new}
    load.none_failed()


def test_one_master_becomes_three(lab: Lab, clone: Path) -> None:
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


def test_three_masters_go_to_the_newest_version(lab: Lab, clone: Path) -> None:
    """Masters one by one, each a member of etcd that is waited for, then nodes."""
    before = restarts(lab)
    with lab.load() as load:
        for version in VERSIONS[2:]:
            said = name_version(clone, version)
            lab.deploy()
    assert all(f"{name}: by itself" in said for name in (*MASTERS, *NODES))
    assert {*lab.kubelets().values()} == apiservers(lab, *MASTERS) == {VERSIONS[-1]}
    none_started_again(lab, before)
    settled(lab, *MASTERS)
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


def test_another_host_takes_a_masters_place(lab: Lab, clone: Path) -> None:
    """The model has one for the other, at the same address."""
    before = settled(lab, *MASTERS)
    git(clone, "pull", "--quiet")
    text = (clone / "nodes/hosts/kmst03.yml").read_text()
    (clone / "nodes/hosts/kmst03.yml").unlink()
    address = "parameters:\n  _param:\n    single_address: ${_param:kmst03_address}\n"
    (clone / "nodes/hosts/kmst04.yml").write_text(text + address)
    with lab.load() as load:
        lab.lose("kmst03")
        assert until(answered, "the other masters", patience=60)
        push(clone, "Another master")
        repaired(lab)
        lab.deploy()
        after = settled(lab, "kmst01", "kmst02", "kmst04")
        writes(lab)
    assert {before[name] == after[name] for name in MASTERS[:2]} == {True}
    assert apiservers(lab, "kmst04") == {VERSIONS[-1]}
    load.none_failed()


def test_three_masters_become_one(lab: Lab, clone: Path) -> None:
    git(clone, "pull", "--quiet")
    first, *others = sorted(file.stem for file in (clone / "nodes/hosts").glob("kmst*.yml"))
    for name in others:
        (clone / f"nodes/hosts/{name}.yml").unlink()
    with lab.load() as load:
        for name in others:
            lab.on("cfg01", "salt", name, "service.stop", "keepalived")
        push(clone, "One master")
        lab.deploy()
        settled(lab, first)
        repaired(lab)
        for name in others:
            lab.command("remove", name)
        assert until(answered, "the one that is left has the address", patience=60)
        writes(lab)
        lab.deploy()
    load.none_failed()
