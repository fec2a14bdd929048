"""Upgrades of Kubernetes that are cut off, or lack what they need: what is said, and that the next deploy carries on.

The upgrade is to the same binaries in another directory, so that nothing is compiled: masters and nodes are updated one
by one as they are for another version, and what runs from the new directory has been updated.
"""

from __future__ import annotations

import json
import random
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from tests.story.campaign import DISK
from tests.story.fault import SCRIPTS, SERVICES
from tests.story.lab import APPLIED, APPLYING, Lab
from tests.story.neighbour import PYTHON
from tests.story.test_story import clone, push
from tests.story.test_underlay import NODES

from pillarbox.system.waiting import until

__all__ = ["clone"]

pytestmark = [pytest.mark.lab, pytest.mark.long]

PROGRAMS = "classes/cluster/lab/kubernetes/init.yml"
VERSION, OTHER = "${_param:kubernetes_version}", "/srv/programs/other/kubernetes"
PATIENCE = 600.0
#: Issues a certificate of a host again, for one day, as if the host had not come for a new one since; prints it.
LAST_DAY = """\
import json, sys
from pathlib import Path
from pillarbox.pki import authority
from pillarbox.pki.request import CertificateRequest
from pillarbox.pki.store import DIRECTORY, IssuedStore
host, name = sys.argv[1:]
authority._CERTIFICATE_DAYS = 1
stored = Path(DIRECTORY, "host", host, name)
ca, common_name, *others = json.loads(stored.with_suffix(".json").read_text())
request = CertificateRequest(name, ca, common_name, *map(tuple, others))
for part, text in zip(("key", "crt"), IssuedStore(Path(DIRECTORY)).authority(ca).sign(request)):
    stored.with_suffix(f".{part}").write_bytes(text)
    print(text.decode())
"""
#: Prints when a certificate ends.
ENDS = """\
import sys
from cryptography import x509
print(x509.load_pem_x509_certificate(open(sys.argv[1], "rb").read()).not_valid_after_utc.isoformat())
"""


class Upgrade:
    """An upgrade that can be pushed: there and, the next time, back again."""

    def __init__(self, lab: Lab, clone: Path) -> None:
        self.lab, self.clone = lab, clone
        self.directories = [self._runs_from("cfg01", "kubectl"), OTHER]
        script = 'rm -rf "$2"; mkdir -p "$(dirname "$2")"; cp -al "$1" "$2"'
        lab.on("cfg01", "sh", "-ec", script, "sh", *self.directories)

    def _runs_from(self, host: str, command: str) -> str:
        return str(Path(self.lab.on(host, "readlink", "-f", f"/usr/local/bin/{command}").stdout.strip()).parent)

    def push(self) -> str:
        """What the push said."""
        here, there = f'kubernetes: {{version: "{VERSION}"', f'kubernetes: {{version: "{VERSION}", path: {OTHER}'
        old, new = (here, there) if self.directories[1] == OTHER else (there, here)
        file = self.clone / PROGRAMS
        text = file.read_text()
        assert f"{old}}}" in text
        file.write_text(text.replace(f"{old}}}", f"{new}}}"))
        self.directories.reverse()
        return push(self.clone, "Upgrade Kubernetes")

    def done(self, *cordoned: str) -> None:
        """Everything runs from the new directory and is as the model says; only these nodes take no new pods."""
        assert self.unschedulable() == [*cordoned]
        for host, command in (
            ("kmst01", "kube-apiserver"),
            *((node, "kubelet") for node in NODES),
            ("cfg01", "kubectl"),
        ):
            assert self._runs_from(host, command) == self.directories[0], host
        command = ("salt-run", "--out=json", "pillarbox.status")
        assert until(
            lambda: self.lab.on("cfg01", *command, check=False).returncode == 0, "all is well", patience=300, every=5
        )

    def unschedulable(self) -> list[str]:
        nodes = self.lab.objects("nodes")
        return sorted(node["metadata"]["name"] for node in nodes if node["spec"].get("unschedulable"))


@pytest.fixture(scope="module")
def upgrade(lab: Lab, clone: Path) -> Iterator[Upgrade]:
    made = Upgrade(lab, clone)
    yield made
    if made.directories[0] == OTHER:
        made.push()
        lab.deploy()
    lab.on("cfg01", "rm", "-r", str(Path(OTHER).parent))


def restarts(lab: Lab) -> dict[str, int]:
    """How often the containers of each pod were started again."""
    return {
        pod["metadata"]["name"]: sum(each["restartCount"] for each in pod["status"].get("containerStatuses", ()))
        for pod in lab.objects("pods")
    }


def none_started_again(lab: Lab, before: dict[str, int]) -> None:
    """Of the pods that are still there, none was started again in its place since ``before``."""
    after = restarts(lab)
    assert {name: after[name] for name in before.keys() & after} == {
        name: before[name] for name in before.keys() & after
    }


@pytest.mark.parametrize("what", ["deploy", "master"])
def test_a_deploy_that_is_cut_off_is_carried_on(lab: Lab, upgrade: Upgrade, what: str) -> None:
    before = restarts(lab)
    said = upgrade.push()
    assert "kmst01: by itself" in said and "ctl02: by itself, pods move off node ctl02 first" in said
    with lab.load() as load:
        with lab.deploying() as deploy:
            lab.wait_for(deploy, "ctl02", APPLYING)
            if what == "deploy":
                lab.on("cfg01", "pkill", "--signal", "KILL", "--full", "[s]alt-run.*orch.deploy")
                assert deploy.end() != 0
            else:
                with lab.off("cfg01"):
                    assert deploy.end() != 0
        assert upgrade.unschedulable() == ["ctl02"]
        status = lab.on("cfg01", "salt-run", "pillarbox.status", check=False)
        assert status.returncode != 0 and "takes no new pods until a deploy finds its host well" in status.stdout
        # What an operator does by hand stays as it is.
        lab.kubectl("cordon", "ctl03")
        lab.deploy()
    report = lab.report()
    assert not {"kmst01", "ctl01"} & report["hosts"].keys(), "who was well is left alone"
    assert {report["hosts"][name] for name in ("ctl02", "ctl03", "cfg01")} == {APPLIED}
    upgrade.done("ctl03")
    lab.kubectl("uncordon", "ctl03")
    load.none_failed()
    none_started_again(lab, before)


@pytest.mark.parametrize("seed", [1, 2])
def test_it_is_cut_off_at_any_moment(lab: Lab, upgrade: Upgrade, seed: int) -> None:
    """One deploy after another is killed, each after some seconds; the last is left alone."""
    before, chance = restarts(lab), random.Random(seed)
    upgrade.push()
    killed = 0
    with lab.load() as load:
        while killed < 12:
            with lab.deploying() as deploy:
                try:
                    # Of no use before it has begun: that takes a few.
                    assert deploy.process.wait(timeout=chance.uniform(5, 45)) == 0, "nobody killed it"
                except subprocess.TimeoutExpired:
                    lab.on("cfg01", "pkill", "--signal", "KILL", "--full", "[s]alt-run.*orch.deploy", check=False)
                if deploy.end() == 0:
                    break
                killed += 1
        else:
            lab.deploy()
    assert killed, "none was killed before its end"
    upgrade.done()
    load.none_failed()
    none_started_again(lab, before)


def test_a_host_that_dies_meanwhile_is_told_and_made_well(lab: Lab, upgrade: Upgrade) -> None:
    upgrade.push()
    with lab.load(away="ctl03") as load:
        with lab.deploying() as deploy:
            lab.wait_for(deploy, "ctl03", APPLYING)
            with lab.off("ctl03"):
                assert deploy.end() != 0
                with lab.deploying() as again:
                    assert again.end() != 0
        assert "ctl03: failed: it gave no answer" in deploy.said
        assert "node ctl03: takes no new pods until a deploy finds its host well" in deploy.said
        assert "no host was changed: ctl03 gives no answer" in again.said
        lab.deploy()
    assert lab.report()["hosts"] == {"ctl03": APPLIED, "cfg01": APPLIED}
    upgrade.done()
    load.none_failed()


def test_a_version_that_does_not_start_stops_at_the_first_node(lab: Lab, upgrade: Upgrade) -> None:
    """Its kubelet ends at once. The way out is the line as it was."""
    there = upgrade.directories[1]
    script = 'cd "$1"; mv kubelet kubelet.good; cp /bin/false kubelet'
    lab.on("cfg01", "sh", "-ec", script, "sh", there)
    upgrade.push()
    try:
        with lab.load() as load:
            with lab.deploying() as deploy:
                assert deploy.end() != 0
            assert "ctl01: failed" in deploy.said and "kubelet" in deploy.said
            assert "node ctl01: takes no new pods until a deploy finds its host well" in deploy.said
            assert upgrade.unschedulable() == ["ctl01"]
            hosts = lab.report()["hosts"]
            assert hosts["kmst01"] == APPLIED and not {"ctl02", "ctl03"} & {
                name for name, state in hosts.items() if state == APPLIED
            }
            upgrade.push()
            lab.deploy()
        upgrade.done()
        load.none_failed()
    finally:
        lab.on("cfg01", "sh", "-ec", 'cd "$1"; mv -f kubelet.good kubelet', "sh", there)


@pytest.mark.parametrize(("host", "directory"), [("ctl02", "/var/cache/salt"), ("kmst01", "/var/lib/etcd")])
def test_a_full_disk_stops_it_until_there_is_room(lab: Lab, upgrade: Upgrade, host: str, directory: str) -> None:
    services = ("salt-minion",) if host == "ctl02" else SERVICES["control"]
    fill, room = SCRIPTS["disk"]
    with lab.load() as load:
        lab.on(host, "sh", "-ec", DISK, "sh", directory, *services)
        upgrade.push()
        try:
            if host == "ctl02":
                lab.on(host, "sh", "-ec", fill, "sh", directory)
            with lab.deploying() as deploy:
                if host == "kmst01":
                    lab.wait_for(deploy, host, APPLYING)
                    lab.on(host, "sh", "-ec", fill, "sh", directory)
                code = deploy.end()
        finally:
            lab.on(host, "sh", "-ec", room, "sh", directory)
        if host == "ctl02":
            assert code != 0 and "no host was changed: ctl02 gives no answer" in deploy.said
            assert "room on their disks" in deploy.said
        assert until(
            lambda: lab.kubectl("get", "--raw", "/readyz", check=False).returncode == 0,
            "the API server is ready", patience=PATIENCE, every=1,
        )  # fmt: skip
        lab.answering()
        lab.deploy()
    upgrade.done()
    load.none_failed()


def test_pods_that_no_registry_gives_images_to_hold_it_until_one_does(lab: Lab, upgrade: Upgrade) -> None:
    # Who has keystone can run it again without a registry; nobody has it but in containers that run.
    forget = "ctr --namespace k8s.io images ls -q | grep /keystone-server | xargs -r ctr --namespace k8s.io images rm"

    def waiting() -> bool:
        listed = lab.kubectl("get", "pods", "-o", "json", "-l", "app=keystone-server", check=False)
        if listed.returncode:
            # The API server is updated just now.
            return False
        states = [
            each.get("state", {}).get("waiting", {}).get("reason", "")
            for pod in json.loads(listed.stdout)["items"]
            for each in pod["status"].get("containerStatuses", ())
        ]
        return bool({"ErrImagePull", "ImagePullBackOff"} & set(states))

    upgrade.push()
    with lab.load() as load, lab.deploying() as deploy:
        lab.wait_for(deploy, "kmst01", APPLYING)
        try:
            lab.on("cfg01", "systemctl", "stop", "docker-registry")
            for node in NODES:
                lab.on(node, "sh", "-ec", forget)
            assert until(waiting, "keystone lacks its image", patience=PATIENCE, every=1)
            assert until(
                lambda: "ReplicaSet default/keystone-server" in deploy.said, "it is told", patience=60, every=1
            )
            assert deploy.process.poll() is None
        finally:
            lab.on("cfg01", "systemctl", "start", "docker-registry")
        assert deploy.end() == 0
    upgrade.done()
    load.none_failed()


def last_day(lab: Lab, host: str, name: str) -> None:
    """A certificate of a host has a day left."""
    both = lab.quietly("cfg01", PYTHON, "-c", LAST_DAY, host, name)
    key, _, certificate = both.partition("-----BEGIN CERTIFICATE")
    for part, text in (("key", key.strip()), ("crt", f"-----BEGIN CERTIFICATE{certificate}")):
        lab.quietly(host, "sh", "-ec", f'printf "%s\\n" "$1" >/etc/kubernetes/pki/{name}.{part}', "sh", text)


def days_left(lab: Lab, host: str, name: str) -> float:
    ends = lab.on(host, PYTHON, "-c", ENDS, f"/etc/kubernetes/pki/{name}.crt").stdout
    return (datetime.fromisoformat(ends.strip()) - datetime.now(UTC)) / timedelta(days=1)


def test_a_kubelet_gets_its_next_certificate_without_a_deploy(lab: Lab) -> None:
    """By what every host does each day."""
    before, name = restarts(lab), "kubernetes-kubelet"
    last_day(lab, "ctl03", name)
    assert days_left(lab, "ctl03", name) < 2
    with lab.load() as load:
        lab.on("cfg01", "salt", "ctl03", "pillarbox.renew_certificates")
        assert days_left(lab, "ctl03", name) > 80
        lab.ready("ctl03")
        load.asked()
    load.none_failed()
    none_started_again(lab, before)


def test_certificates_at_their_last_day_are_told_and_renewed(lab: Lab, upgrade: Upgrade) -> None:
    files = {"kmst01": "kubernetes-apiserver", "ctl02": "kubernetes-kubelet"}
    upgrade.push()
    for host, name in files.items():
        last_day(lab, host, name)
        lab.on(host, "systemctl", "restart", name.removeprefix("kubernetes-").replace("apiserver", "kube-apiserver"))
    lab.ready("ctl02")
    with lab.load() as load, lab.deploying() as deploy:
        assert deploy.end() == 0
    for host, name in files.items():
        assert f"certificate {name} of host {host}: until " in deploy.said
        assert days_left(lab, host, name) > 80
    upgrade.done()
    load.none_failed()
