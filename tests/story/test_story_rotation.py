"""Every secret of the deployment gets a new value under load: no request fails, and the old value is worth nothing.

A user of the cloud's own sends the requests, since its administrator's password is one of the secrets.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import pytest
import requests
import yaml
from tests.story.lab import COMMAND, Lab, run
from tests.story.load import APIS, KEYSTONE_PORT, TIMEOUT_SECONDS, Load
from tests.story.test_database import as_root, in_pod
from tests.story.test_layers import LabRegistry, registry
from tests.story.test_story import clone, git, push, workloads
from tests.story.test_underlay import ETCDCTL

from pillarbox.lab.software import BOOTSTRAP
from pillarbox.salt.modules.pillarbox import account as account_name

__all__ = ["clone", "registry"]

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
    "registry_*_password_next",
)
#: Rotated in every run, the others with --long.
SHORT = ("keystone_*_key_0",)
AT_REST = "/usr/local/lib/kubernetes/secrets-at-rest"
#: Opens all secrets of what would be put back, with the keys that the master has, and counts them.
OPEN_ALL = """\
import json, pathlib
from pillarbox.system import gpg
home, good = pathlib.Path("/etc/salt/gpgkeys"), pathlib.Path("/var/lib/pillarbox/good")
found = [text for file in good.rglob("*,json") for _, text in gpg.blocks(json.loads(file.read_text()))]
print(len([gpg.replace(text, lambda block: gpg.decrypt(home, block)) for text in found]))
"""
#: Of hosts' pillars, which hold secrets: how many there are, and what is wrong in them.
COUNT = """\
import json, sys
found = json.load(sys.stdin)
text = json.dumps(found)
print(len(found), text.count("BEGIN PGP MESSAGE"), text.count('"_errors"'))
"""
USER, PASSWORD = "pillarbox-load", "a password of its own"


def rotated_by(clone: Path, kind: str = "*") -> list[str]:
    """The secrets of a kind, without those that take the old value of another."""
    asked = yaml.safe_load((clone / "classes/cluster/lab/secrets.yml").read_text())["parameters"]["_secret"]
    taking = {options["then"] for options in asked.values() if "then" in options}
    return [name for name in asked if fnmatchcase(name, kind) and name not in taking]


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


@contextmanager
def no_request_fails(lab: Lab, user: Load) -> Iterator[None]:
    """Requests for as long as the block lasts: none fails, and a token from before it is good after it."""
    token = user.token(lab.addresses[0])
    load = Load(lab.addresses, PASSWORD, USER)
    with load:
        yield
    print(json.dumps({name: tally.as_dict() for name, tally in load.tallies.items()}))
    for name, tally in load.tallies.items():
        assert tally.failures == [], f"{name}: {len(tally.failures)} of {tally.sent} requests failed"
        # Where no pod rolls, a push and a deploy take seconds.
        assert tally.sent > 10
    for service in APIS:
        user.ask(service, lab.addresses[0], token)


#: Run a command again and again until the file $1 is there, and say each failure and how often it ran.
AGAIN = """\
stop=$1; shift; ran=0
until [ -e "$stop" ]; do ran=$((ran + 1)); said=$("$@" 2>&1) || echo "failed: $said"; sleep 0.3; done
rm "$stop"; echo "ran $ran"
"""


@contextmanager
def images_that_move(lab: Lab) -> Iterator[None]:
    """An image is pushed by the builder and looked up by nodes for as long as the block lasts: never in vain."""
    (image,) = workloads(lab)["placement-server"][1]
    # Not the same one: the registry answers 500 to who asks for an image that is just being pushed once more.
    tag = f"{image.partition('/')[0]}/lab/rotation-test:one"
    lab.on("cfg01", "sh", "-c", f"tar -C /etc -c hostname | docker import - {tag}")
    ctr = ("ctr", "--namespace", "rotation-test")
    fetch = (*ctr, "content", "fetch", "--hosts-dir", "/etc/containerd/certs.d", image)
    stop = "/run/rotation-test.stop"
    moving = {"cfg01": ("docker", "push", "--quiet", tag), "ctl01": fetch, "ctl02": fetch}
    with ThreadPoolExecutor(len(moving)) as pool:
        running = [
            pool.submit(lab.on, host, "sh", "-c", AGAIN, "sh", stop, *command) for host, command in moving.items()
        ]
        try:
            yield
        finally:
            for host in moving:
                lab.on(host, "touch", stop)
    lab.on("cfg01", "docker", "rmi", tag)
    for host in ("ctl01", "ctl02"):
        lab.on(host, *ctr, "images", "rm", "--sync", image)
    for each in running:
        said = each.result().stdout.splitlines()
        assert len(said) == 1 and int(said[0].removeprefix("ran ")) > 3, said


def registry_answers(registry: LabRegistry, account: str, password: str) -> int:
    """The status of what the registry answers to that account."""
    login = (account_name(f"{account}-$digest", password), password)
    url = f"https://{registry.address}:5000/v2/"
    return requests.get(url, auth=login, verify=str(registry.authority), timeout=TIMEOUT_SECONDS).status_code


def test_nothing_is_forgotten(clone: Path) -> None:
    assert sorted(rotated_by(clone)) == sorted(name for kind in KINDS for name in rotated_by(clone, kind))


@pytest.mark.parametrize(
    "kind", [kind if kind in SHORT else pytest.param(kind, marks=pytest.mark.long) for kind in KINDS]
)
def test_a_secret_is_rotated_and_no_request_fails(
    lab: Lab, clone: Path, user: Load, master_key: Path, registry: LabRegistry, kind: str
) -> None:
    names = rotated_by(clone, kind)
    assert names
    before, old, database = lab.secrets(), accounts(lab), workloads(lab)["mariadb-server"]
    command = [*COMMAND, "--model", str(clone), "secrets", "rotate", *names, "--public-key", str(master_key)]
    assert run(command).returncode == 0
    images = images_that_move(lab) if kind.startswith("registry_") else nullcontext()
    with no_request_fails(lab, user), images:
        push(clone, f"Rotate {kind}")
        lab.deploy()

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
    if kind.startswith("registry_"):
        for account in ("push", "pull"):
            valid = [after[f"registry_{account}_password{age}"] for age in ("_next", "", "_previous")]
            codes = [registry_answers(registry, account, each) for each in valid]
            assert codes == [200] * 3, "hosts have the second, whoever was late has the third"
            assert registry_answers(registry, account, before[f"registry_{account}_password_previous"]) == 401
    done = workloads(lab)
    lab.deploy()
    assert workloads(lab) == done, "deployed once more, nothing rolls"


def raised(clone: Path, file: str, *names: str) -> int:
    """Raise the serial of each name in a file of the model by one; the new one of the last."""
    text, serial = (clone / file).read_text(), 0
    for name in names:
        ((before, number),) = re.findall(rf"( +{name}:\n(?: +#.*\n)? +serial: )(\d+)", text)
        serial = int(number) + 1
        text = text.replace(f"{before}{number}", f"{before}{serial}")
    (clone / file).write_text(text)
    return serial


def test_secrets_in_etcd_get_a_new_key_and_no_request_fails(lab: Lab, clone: Path, user: Load) -> None:
    serial = raised(clone, "classes/cluster/lab/kubernetes/master.yml", "kubernetes-encryption")
    before = workloads(lab)
    with no_request_fails(lab, user):
        push(clone, "A new key for Secrets in etcd")
        lab.deploy()
    values = f"{shlex.join(ETCDCTL)} get --prefix /registry/secrets/ --print-value-only"
    command = f"{values} | grep -aoE '^k8s:enc:([a-z0-9]+:){{3}}' | sort | uniq -c"
    found = lab.on("kmst01", "sh", "-c", command).stdout.split()
    count = len(json.loads(lab.kubectl("get", "secrets", "--all-namespaces", "-o", "json").stdout)["items"])
    assert found == [str(count), f"k8s:enc:secretbox:v1:key{serial}:"] and count > 5
    names = re.findall(r"name: key(\d+)", lab.on("kmst01", "cat", "/etc/kubernetes/encryption.yml").stdout)
    assert [int(name) for name in names] == [serial, serial + 1, serial - 1]
    assert workloads(lab) == before
    # A configuration without a key that Secrets need is not written.
    refused = lab.on("kmst01", AT_REST, "--known", "https://127.0.0.1:2379", "/dev/null", check=False)
    assert refused.returncode == 1 and f"need key{serial}" in refused.stderr


@pytest.mark.long
def test_the_masters_key_is_replaced_and_no_request_fails(lab: Lab, clone: Path, user: Load) -> None:
    (old,) = fingerprints(lab)
    database, values = workloads(lab)["mariadb-server"], lab.secrets()
    copy, as_git = "/srv/pillarbox/home/reencrypted", ("runuser", "-u", "git", "--", "git")
    identity = ("-c", "user.name=Test", "-c", "user.email=test@localhost")
    gpg = ("gpg", "--homedir", "/etc/salt/gpgkeys", "--batch", "--yes", "--quiet")
    with no_request_fails(lab, user):
        lab.on("cfg01", "sh", "-c", f"{BOOTSTRAP} key new > /root/new.asc")
        (new,) = {*fingerprints(lab)} - {old}
        lab.on("cfg01", *as_git, "clone", "--quiet", "/srv/pillarbox/model.git", copy)
        lab.on("cfg01", "pillarbox", "--model", copy, "secrets", "reencrypt", "--public-key", "/root/new.asc")
        lab.on("cfg01", *as_git, "-C", copy, *identity, "commit", "--quiet", "--all", "--message", "A new key")
        lab.on("cfg01", *as_git, "-C", copy, "push", "--quiet")
        lab.on("cfg01", "rm", "-r", copy)
        lab.deploy()
        lab.on("cfg01", *gpg, "--delete-secret-and-public-key", old)
        assert fingerprints(lab) == [new]
        # With it alone: what hosts get, what pods get, and what a wave that fails would be put back to.
        pillars = "salt --static --out=json '*' pillar.items"
        counted = lab.on("cfg01", "sh", "-c", f'{pillars} | /opt/salt/bin/python -c "$1"', "sh", COUNT).stdout
        assert counted.split() == ["5", "0", "0"], "hosts, blocks that were not opened, errors"
        done = workloads(lab)
        lab.deploy()
    assert lab.secrets() == values and workloads(lab) == done
    assert done["mariadb-server"] == database, "the one database server went on running"
    assert int(lab.on("cfg01", "/opt/salt/bin/python", "-c", OPEN_ALL).stdout) > 5
    git(clone, "pull", "--quiet")


def fingerprints(lab: Lab) -> list[str]:
    """The keys that the master has."""
    command = ("gpg", "--homedir", "/etc/salt/gpgkeys", "--batch", "--with-colons", "--list-secret-keys")
    return re.findall(r"^fpr:+([0-9A-F]+):", lab.on("cfg01", *command).stdout, re.MULTILINE)
