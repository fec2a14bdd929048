"""Every secret of the deployment gets a new value under load: no request fails, and the old value is worth nothing.

A user of the cloud's own sends the requests, since its administrator's password is one of the secrets.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import pytest
import requests
import yaml
from tests.story.lab import COMMAND, Lab, run
from tests.story.load import APIS, KEYSTONE_PORT, TIMEOUT_SECONDS, Load
from tests.story.test_database import as_root, in_pod
from tests.story.test_story import clone, push, workloads

__all__ = ["clone"]

pytestmark = pytest.mark.lab

SERVICES = ("keystone", *APIS)
#: What is rotated in one push each; every secret that can be is in one of them.
KINDS = (
    "*_database_password",
    "*_service_password",
    "keystone_admin_password",
    "mariadb_admin_password",
    "rabbitmq_*",
    "keystone_*_key_0",
)
#: Accounts of the registry: builders and nodes have them, no service does.
OF_HOSTS = {"registry_push_password", "registry_pull_password"}
USER, PASSWORD = "pillarbox-load", "a password of its own"


def rotated_by(clone: Path, kind: str = "*") -> list[str]:
    """The secrets of a kind, without those that take the old value of another."""
    asked = yaml.safe_load((clone / "classes/cluster/lab/secrets.yml").read_text())["parameters"]["_secret"]
    taking = {options["then"] for options in asked.values() if "then" in options}
    return [name for name in asked if fnmatchcase(name, kind) and name not in taking | OF_HOSTS]


def keystone(lab: Lab, method: str, path: str, token: str, body: Any = None) -> Any:
    url = f"http://{lab.addresses[0]}:{KEYSTONE_PORT}/v3{path}"
    answer = requests.request(method, url, headers={"X-Auth-Token": token}, json=body, timeout=TIMEOUT_SECONDS)
    assert answer.ok, f"{method} {path}: {answer.status_code} {answer.text[:200]}"
    return answer.json() if answer.content else None


@pytest.fixture(scope="module")
def user(lab: Lab) -> Iterator[Load]:
    """Requests of a user who may do what the administrator may."""
    token = lab.load().token(lab.addresses[0])
    (project,) = keystone(lab, "GET", "/projects?name=admin&domain_id=default", token)["projects"]
    (role,) = keystone(lab, "GET", "/roles?name=admin", token)["roles"]
    account = {"name": USER, "password": PASSWORD, "domain_id": "default"}
    made = keystone(lab, "POST", "/users", token, {"user": account})["user"]["id"]
    keystone(lab, "PUT", f"/projects/{project['id']}/users/{made}/roles/{role['id']}", token)
    yield Load(lab.addresses, PASSWORD, USER)
    keystone(lab, "DELETE", f"/users/{made}", lab.load().token(lab.addresses[0]))


@pytest.fixture(scope="module")
def master_key(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("key") / "master.asc"
    file.write_text(lab.on("cfg01", "gpg", "--homedir", "/etc/salt/gpgkeys", "--armor", "--export").stdout)
    return file


def accounts(lab: Lab) -> list[str]:
    """The accounts of the services, in their database and in Keystone."""
    token = lab.load().token(lab.addresses[0])
    users = [each["name"] for each in keystone(lab, "GET", "/users?domain_id=default", token)["users"]]
    rows = as_root(lab, "SELECT User FROM mysql.user").splitlines()
    return [name for name in (*rows, *users) if name.partition("-")[0] in SERVICES]


def test_nothing_is_forgotten(clone: Path) -> None:
    assert sorted(rotated_by(clone)) == sorted(name for kind in KINDS for name in rotated_by(clone, kind))


@pytest.mark.parametrize("kind", KINDS)
def test_a_secret_is_rotated_and_no_request_fails(
    lab: Lab, clone: Path, user: Load, master_key: Path, kind: str
) -> None:
    names = rotated_by(clone, kind)
    assert names
    before, old, database = lab.secrets(), accounts(lab), workloads(lab)["mariadb-server"]
    token = user.token(lab.addresses[0])
    command = [*COMMAND, "--model", str(clone), "secrets", "rotate", *names, "--public-key", str(master_key)]
    assert run(command).returncode == 0

    load = Load(lab.addresses, PASSWORD, USER)
    with load:
        push(clone, f"Rotate {kind}")
        lab.deploy()
    print(json.dumps({name: tally.as_dict() for name, tally in load.tallies.items()}))
    for name, tally in load.tallies.items():
        assert tally.failures == [], f"{name}: {len(tally.failures)} of {tally.sent} requests failed"
        # Where no pod rolls, a push and a deploy take seconds.
        assert tally.sent > 10
    for service in APIS:
        user.ask(service, lab.addresses[0], token)

    after = lab.secrets()
    assert all(after[name] != before[name] for name in names)
    assert workloads(lab)["mariadb-server"] == database, "the one database server went on running"
    assert len(accounts(lab)) == len(old), "one account for each, and none is left over"
    if kind in ("*_database_password", "*_service_password"):
        assert len({*accounts(lab)} - {*old}) == len(names)
    if kind == "keystone_admin_password":
        with pytest.raises(AssertionError, match="401"):
            Load(lab.addresses, before["keystone_admin_password"]).token(lab.addresses[0])
    if kind == "mariadb_admin_password":
        for password, code in ((after["mariadb_admin_password"], 0), (before["mariadb_admin_password"], 0), ("no", 1)):
            login = "mariadb --no-defaults --host=$MARIADB_SERVER_SERVICE_HOST --user=admin --execute='SELECT 1'"
            assert in_pod(lab, "env", f"MYSQL_PWD={password}", "sh", "-c", login)[0] == code
    done = workloads(lab)
    lab.deploy()
    assert workloads(lab) == done, "deployed once more, nothing rolls"
