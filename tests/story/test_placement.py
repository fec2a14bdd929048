"""Placement, which came as data alone: known to Keystone's catalog, and it answers with its database."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import requests
from tests.story.lab import Lab
from tests.story.load import APIS
from tests.story.test_story import change, clone, git, push, workloads

__all__ = ["clone"]

pytestmark = pytest.mark.lab

PORT = APIS["placement"][0]


def test_the_catalog_says_where_it_is(lab: Lab) -> None:
    token = lab.load().token(lab.addresses[0])
    url = f"http://{lab.addresses[0]}:30500/v3/auth/catalog"
    catalog = requests.get(url, headers={"X-Auth-Token": token}, timeout=20).json()["catalog"]
    (entry,) = [each for each in catalog if each["type"] == "placement"]
    addresses = {each["interface"]: each["url"] for each in entry["endpoints"]}
    assert addresses.keys() == {"public", "internal", "admin"}
    assert requests.get(addresses["public"], timeout=20).json()["versions"][0]["id"] == "v1.0"


def test_it_keeps_what_it_is_given(lab: Lab) -> None:
    load = lab.load()
    for address in lab.addresses:
        base = f"http://{address}:{PORT}/resource_providers"
        assert requests.get(base, timeout=20).status_code == 401
        headers = {"X-Auth-Token": load.token(address), "OpenStack-API-Version": "placement 1.20"}
        made = requests.post(base, json={"name": "pillarbox-test"}, headers=headers, timeout=20)
        assert made.status_code == 200, made.text
        try:
            names = [
                each["name"] for other in lab.addresses for each in load.ask("placement", other, load.token(other))
            ]
            assert names.count("pillarbox-test") == len(lab.addresses)
        finally:
            gone = requests.delete(f"{base}/{made.json()['uuid']}", headers=headers, timeout=20)
        assert gone.status_code == 204, gone.text


def test_its_replicas_are_on_different_hosts_behind_a_budget(lab: Lab) -> None:
    pods = lab.objects("pod", "app=placement-server")
    assert len({pod["spec"]["nodeName"] for pod in pods}) == 2
    budget = json.loads(lab.kubectl("get", "pdb", "placement-server", "-o", "json").stdout)
    assert budget["status"]["expectedPods"] == 2 and budget["spec"]["minAvailable"] == 1


@pytest.mark.long
def test_it_goes_and_comes_and_no_other_service_notices(lab: Lab, clone: Path) -> None:
    def others() -> dict[str, object]:
        """What runs beside it: workloads, and the database server's pod itself."""
        pod = json.loads(lab.kubectl("get", "pod", "mariadb-server-0", "-o", "json").stdout)
        found = {name: value for name, value in workloads(lab).items() if name != "placement-server"}
        return found | {"pod": (pod["metadata"]["uid"], pod["status"]["containerStatuses"][0]["restartCount"])}

    before = others()
    change(clone, "classes/cluster/lab/openstack.yml", "- system.kubernetes.control.placement\n", "")
    (clone / "nodes/images/placement-server.yml").unlink()
    push(clone, "Without placement")
    lab.deploy()
    assert "placement-server" not in workloads(lab)
    assert others() == before
    git(clone, "revert", "--no-edit", "HEAD")
    said = push(clone, "With placement again")
    assert "mariadb-server" not in said
    lab.deploy()
    assert others() == before
    for address in lab.addresses:
        lab.load().ask("placement", address, lab.load().token(address))
