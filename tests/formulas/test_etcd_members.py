"""The members of an etcd cluster follow the model: real etcds with TLS, by the states' own commands and files.

Each host has an address of its own on the loopback interface, and a directory for what is written below /etc and
/var/lib; a process stands for the unit. Nothing restarts by itself here: each test says what starts, and when.
"""

from __future__ import annotations

import itertools
import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from tests import compile, programs
from tests.controlplane import free_port
from tests.formulas.test_hosts import compiled_states

from pillarbox.system.waiting import until

#: Like etcdctl, but who asked for a member to be added is killed once that is done.
KILLER = """#!/bin/sh
{etcdctl} "$@" || exit
case " $* " in *" member add "*) kill -9 $PPID;; esac
"""

pytestmark = pytest.mark.compiled


class Host:
    """A host of a model, and its etcd."""

    def __init__(self, name: str, number: int, root: Path, etcd: Path) -> None:
        self.name, self.root, self.data = name, root / name, root / name / "data"
        self.place = {"host": f"127.0.0.{number}", "port": free_port(), "peer_port": free_port()}
        self.timeout = 120
        self.use(etcd)
        self.running: subprocess.Popen[bytes] | None = None
        self._turns = itertools.count(1)
        self._pki = root / "pki"

    def use(self, etcd: Path) -> None:
        """Have that etcd, which is not running yet."""
        self.etcd, self.path = etcd, f"{etcd.parent}:{os.environ['PATH']}"

    def states(self, hosts: list[Host], sls: str = "etcd", **pillar: Any) -> dict[str, dict[str, Any]]:
        """The states by their names, and their files written, where these hosts are the members of the model."""
        scratch = self.root / f"salt-{next(self._turns)}"
        scratch.mkdir(parents=True)
        (scratch / "pki").symlink_to(self._pki)
        bind, members = self.place, {host.name: host.place for host in hosts}
        server = {"enabled": True, "name": self.name, "bind": bind, "members": members, "data_dir": str(self.data)}
        # Members look at the address that another comes from: on the loopback interface that is 127.0.0.1.
        addresses = [f"IP:{self.place['host']}", "IP:127.0.0.1"]
        parameters = {
            "_reclass_": {"name": {"full": self.name}},
            "etcd": {"server": {**server, "timeout": self.timeout}},
            "pki": {
                "certificate": {"etcd-server": {"ca": "etcd", "common_name": self.name, "alternative_names": addresses}}
            },
            "program": {"source": {"program": {"etcd": {"version": "3.7.3"}}}},
            **pillar,
        }
        low, files = compiled_states(self.name, parameters, [sls], scratch)
        assert all(isinstance(chunk, dict) for chunk in low), low
        files |= {chunk["name"]: json.dumps(chunk["dataset"]) for chunk in low if chunk["fun"] == "serialize"}
        for name, text in files.items():
            file = Path(self.there(name))
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(self.there(text))
            file.chmod(0o755)
        issued, pki = self._pki / "host" / self.name, self.root / "etc" / "etcd" / "pki"
        pki.mkdir(exist_ok=True, parents=True)
        shutil.copy(issued / "etcd-server.crt", pki / "server.crt")
        shutil.copy(issued / "etcd-server.key", pki / "server.key")
        shutil.copy(self._pki / "authority" / "etcd.crt", pki / "ca.crt")
        return {chunk["__id__"]: chunk for chunk in low}

    def there(self, text: str) -> str:
        """A text with the directories of this host."""
        return re.sub(r"(?<![\w/])/(etc/etcd|etc/systemd|usr/local/lib)(?=/)", rf"{self.root}/\1", text)

    def run(self, command: str) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "PATH": self.path}
        return subprocess.run(["sh", "-c", self.there(command)], capture_output=True, text=True, env=environment)

    def do(self, state: dict[str, Any]) -> None:
        """A state that runs a command, as Salt does it."""
        if "unless" not in state or self.run(state["unless"]).returncode != 0:
            done = self.run(state["name"])
            assert done.returncode == 0, done.stdout + done.stderr

    def begin(self, hosts: list[Host]) -> dict[str, dict[str, Any]]:
        """The states up to the start of etcd."""
        states = self.states(hosts)
        self.data.mkdir(exist_ok=True)
        if self.run(states["etcd_server_stopped"]["unless"]).returncode != 0:
            self.stop()
        self.do(states["etcd_server_begin"])
        return states

    def apply(self, hosts: list[Host]) -> None:
        states = self.begin(hosts)
        self.start()
        self.do(states["etcd_server_settled"])

    def start(self) -> None:
        """Start etcd as its unit does, unless it runs."""
        if self.running and self.running.poll() is None:
            return
        unit = Path(self.there("/etc/systemd/system/etcd.service")).read_text()
        lines = [line.split("=", 1) for line in unit.splitlines() if "=" in line]
        files = [value.removeprefix("-") for key, value in lines if key == "EnvironmentFile"]
        (before,) = (value for key, value in lines if key == "ExecStartPre")
        (program,) = (value for key, value in lines if key == "ExecStart")
        read = "; ".join(f"test ! -e {file} || . {file}" for file in files)
        command = f"{before} || exit; set -a; {read}; exec {program.replace('/usr/local/bin', str(self.etcd.parent))}"
        with (self.root / "log").open("ab") as log:
            self.running = subprocess.Popen(["sh", "-c", command], stdout=log, stderr=log)

    def stop(self) -> None:
        if self.running:
            self.running.kill()
            self.running.wait()

    def lose(self) -> None:
        """The host is replaced by an empty one."""
        self.stop()
        shutil.rmtree(self.data)

    def ask(self, *command: str) -> Any:
        """What etcdctl prints, of this member."""
        pki = self.root / "etc" / "etcd" / "pki"
        own = (f"--cacert={pki}/ca.crt", f"--cert={pki}/server.crt", f"--key={pki}/server.key")
        url = f"https://{self.place['host']}:{self.place['port']}"
        done = subprocess.run(
            [self.etcd.with_name("etcdctl"), f"--endpoints={url}", *own, "--write-out=json", *command],
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout) if done.stdout.startswith("{") else None

    def members(self) -> dict[str, int]:
        """The members with their IDs; each has a vote."""
        found = self.ask("member", "list")["members"]
        assert not any(each.get("isLearner") for each in found), found
        return {each["name"]: each["ID"] for each in found}

    def value(self) -> str:
        return str(self.ask("get", "key")["kvs"][0]["value"])


@pytest.fixture
def hosts(tmp_path: Path) -> Iterator[list[Host]]:
    """Three hosts with nothing on them, and a fourth."""
    if (etcd := programs.compiled("etcd", "etcd")) is None:
        pytest.skip("no etcd here: set PILLARBOX_PROGRAMS, or make the lab, which compiles it")
    (tmp_path / "pki").mkdir()
    found = [Host(f"m{number}", number + 1, tmp_path, etcd) for number in (1, 2, 3, 4)]
    try:
        yield found
    finally:
        for host in found:
            host.stop()


def together(applied: list[Host], model: list[Host]) -> None:
    """Apply the states of several hosts at the same time."""
    with ThreadPoolExecutor(len(applied)) as pool:
        for done in [pool.submit(host.apply, model) for host in applied]:
            done.result()


def cluster(hosts: list[Host]) -> str:
    """A cluster of them all, and what it has."""
    together(hosts, hosts)
    hosts[0].ask("put", "key", "first")
    return hosts[0].value()


def test_a_first_cluster_of_three_that_begin_at_the_same_time(hosts: list[Host]) -> None:
    model = hosts[:3]
    value = cluster(model)
    assert all(host.value() == value and set(host.members()) == {"m1", "m2", "m3"} for host in model)
    running = [host.running for host in model]
    for host in model:
        states = host.begin(model)
        assert host.run(states["etcd_server_settled"]["unless"]).returncode == 0, "nothing is left to do"
        assert not (host.data / "begin").exists()
    assert [host.running for host in model] == running


def test_a_cluster_grows_and_shrinks_by_the_model(hosts: list[Host]) -> None:
    model = hosts[:3]
    value = cluster(hosts[:1])
    # Two that join at the same time get there one after the other.
    together(hosts[1:3], model)
    hosts[0].apply(model)
    assert all(host.value() == value and len(host.members()) == 3 for host in model)

    hosts[0].apply(hosts[:1])
    assert set(hosts[0].members()) == {"m1"} and hosts[0].value() == value

    # Back again, with the data of a member that was removed.
    hosts[1].stop()
    hosts[1].apply(hosts[:2])
    assert set(hosts[0].members()) == {"m1", "m2"} and hosts[1].value() == value
    assert len(list(hosts[1].root.glob("data.removed-*"))) == 1


def test_members_go_to_a_newer_version_one_after_another_and_not_back(
    hosts: list[Host], request: pytest.FixtureRequest
) -> None:
    model, new = hosts[:3], programs.compiled("etcd", "etcd")
    assert new
    minor = minor_of(programs.version(new.parent))
    pinned = compile.pinned("etcd")
    older = [each for each in pinned[: pinned.index(programs.version(new.parent))] if minor_of(each) != minor][-1]
    there = map(programs.version, programs.directories("etcd"))
    if older not in there and not request.config.getoption("--long"):
        pytest.skip(f"no etcd {older} here: make long-test compiles it")
    old = compile.kept("etcd", "etcd", older)
    for host in model:
        host.use(old)
    value = cluster(model)
    before = model[0].members()
    for host in model:
        host.stop()
        host.use(new)
        host.apply(model)
        assert all(each.value() == value for each in model)
    assert model[0].members() == before
    agreed = re.compile(rf'updated cluster version.*"to":"{re.escape(minor)}"')
    logs = [host.root / "log" for host in model]
    assert until(lambda: all(agreed.search(log.read_text()) for log in logs), "the newer version", patience=60)
    # This is why a push refuses it.
    model[0].stop()
    model[0].use(old)
    model[0].start()
    assert model[0].running and model[0].running.wait(timeout=60) != 0
    model[0].use(new)
    model[0].apply(model)
    assert all(each.value() == value for each in model)


def minor_of(version: str) -> str:
    return version.rpartition(".")[0]


def test_a_host_that_lost_its_data_comes_back(hosts: list[Host]) -> None:
    model = hosts[:3]
    value = cluster(model)
    # The one that began the first cluster, too.
    lost, before = hosts[0], hosts[0].members()
    lost.lose()
    lost.data.mkdir()
    lost.start()
    assert lost.running and lost.running.wait() != 0, "without data, it is no cluster of its own"
    lost.apply(model)
    after = lost.members()
    assert lost.value() == value and set(after) == set(before)
    assert {name for name in before if before[name] != after[name]} == {lost.name}


def test_a_dead_host_gives_its_place_to_another(hosts: list[Host]) -> None:
    value = cluster(hosts[:3])
    hosts[1].lose()
    model = [hosts[0], hosts[2], hosts[3]]
    together(model, model)
    assert all(set(host.members()) == {"m1", "m3", "m4"} and host.value() == value for host in model)


def test_what_was_cut_off_in_the_middle_is_taken_up(hosts: list[Host], tmp_path: Path) -> None:
    model, joining = hosts[:2], hosts[1]
    value = cluster(hosts[:1])
    killer = tmp_path / "killer" / "etcdctl"
    killer.parent.mkdir()
    killer.write_text(KILLER.format(etcdctl=joining.etcd.with_name("etcdctl")))
    killer.chmod(0o755)
    path, joining.path = joining.path, f"{killer.parent}:{joining.path}"
    with pytest.raises(AssertionError):
        joining.begin(model)
    assert len(hosts[0].ask("member", "list")["members"]) == 2, "it was added"
    joining.path = path

    # Again, and now it is killed when it has just begun.
    joining.begin(model)
    joining.start()
    assert until(lambda: (joining.data / "member" / "wal").exists(), "etcd to begin", patience=60)
    joining.stop()
    joining.apply(model)
    assert set(hosts[0].members()) == {"m1", "m2"} and joining.value() == value


def test_without_a_quorum_nothing_is_changed(hosts: list[Host]) -> None:
    model = hosts[:3]
    value = cluster(model)
    hosts[1].lose()
    hosts[2].stop()
    for host in hosts:
        host.timeout = 10
    # One has its data and waits for others; one has none, and must not begin a cluster without the data of the third.
    with pytest.raises(AssertionError, match=r"etcd has no quorum(.|\n)*orch\.restore"):
        hosts[0].apply(model)
    with pytest.raises(AssertionError, match=r"no data, and no cluster answers.*m1 runs etcd; m3 does not answer"):
        hosts[1].apply(model)
    # That one comes back as it was, and so the other can.
    hosts[1].timeout = 120
    hosts[2].start()
    hosts[1].apply(model)
    assert len(hosts[1].members()) == 3 and hosts[1].value() == value


def test_a_backup_comes_back_on_all_members(hosts: list[Host], tmp_path: Path) -> None:
    model = hosts[:3]
    value, backup = cluster(model), tmp_path / "backup"
    hosts[0].ask("snapshot", "save", str(backup))
    hosts[0].ask("put", "key", "later")
    hosts[2].lose()
    hosts[2].data.mkdir()
    restore = {"restore": {"id": "r1", "source": "salt://etcd/files/etcd.env", "sha256": "0" * 64}}
    settle = {}
    for host in model:
        states = host.states(model, "etcd.restore", pillarbox=restore)
        shutil.copy(backup, f"{host.data}.snapshot")
        host.do(states["etcd_restore_data"])
        host.stop()
        host.do(states["etcd_restore_swapped"])
        host.start()
        settle[host] = states["etcd_restore_settled"]
    for host, state in settle.items():
        host.do(state)
        assert host.value() == value and set(host.members()) == {"m1", "m2", "m3"}
    for host in model:
        assert host.run(host.states(model)["etcd_server_begin"]["unless"]).returncode == 0, "nothing is left to do"


def test_a_host_is_a_member_of_its_model(hosts: list[Host]) -> None:
    with pytest.raises(AssertionError, match="etcd:server:members has no m3, found: m1, m2"):
        hosts[2].states(hosts[:2])
