"""Highstates of hosts as a deploy asks for them, by a real master and two real minions."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from salt._logging import shutdown_temp_handler
from tests.pipeline.support import Deployment, Salt

from pillarbox.salt.hosts import SILENT, Highstates
from pillarbox.system.progress import Progress

REVISION = "0" * 40


@pytest.fixture(scope="module")
def salt() -> Iterator[Salt]:
    # Salt's clients log here as if this were one of its commands, to whatever standard error was when it was loaded.
    shutdown_temp_handler()
    root = Path(tempfile.mkdtemp(prefix="pb-"))
    deployment = Deployment(root)
    model = deployment.places.published / REVISION
    for folder in ("classes", "nodes", "formulas"):
        (model / folder).mkdir(parents=True)
    for name in ("m1", "m2"):
        node = {"applications": [name], "parameters": {"salt": {"minion": {}}}}
        (model / "nodes" / f"{name}.yml").write_text(yaml.safe_dump(node))
    deployment.places.current.symlink_to(REVISION)
    daemons = Salt(deployment, ("m1", "m2"), timeout=4, gather_job_timeout=4)
    try:
        yield daemons.up()
    finally:
        daemons.close()
        shutil.rmtree(root, ignore_errors=True)


class Hosts:
    """The two hosts: m1 an ordinary one, m2 with the master. Each has one state, which writes a file."""

    def __init__(self, salt: Salt) -> None:
        self.root = salt.deployment.root
        self.formulas = salt.deployment.places.current / "formulas"
        self.apply = Highstates({"conf_file": str(salt.root / "master" / "master")})
        self.lines: list[str] = []
        for name in ("m1", "m2"):
            self.state(name, f"{name}_file:\n  file.managed:\n  - name: {self.root}/{name}.txt\n  - contents: x\n")
            self.file(name).unlink(missing_ok=True)

    def state(self, name: str, text: str) -> None:
        (self.formulas / f"{name}.sls").write_text(text)

    def file(self, name: str) -> Path:
        return self.root / f"{name}.txt"

    def __call__(self, *names: str, dry_run: bool = False) -> dict[str, str]:
        found = self.apply(names, dry_run=dry_run, progress=Progress(sink=self.lines.append))
        return {name: str(outcome) for name, outcome in found.items()}


@pytest.fixture
def hosts(salt: Salt) -> Hosts:
    return Hosts(salt)


def test_hosts_get_their_states_and_say_what_changed(hosts: Hosts) -> None:
    assert hosts("m1", "m2") == {"m1": "states applied", "m2": "states applied"}
    assert sorted(line.partition("] ")[2] for line in hosts.lines) == [
        "host m1: states applied; changes: m1_file",
        "host m2: states applied; changes: m2_file",
    ]
    assert hosts.file("m1").exists() and hosts.file("m2").exists()


def test_a_trial_changes_nothing(hosts: Hosts) -> None:
    assert hosts("m1", "m2", dry_run=True) == {"m1": "would change", "m2": "would change"}
    assert not hosts.file("m1").exists() and not hosts.file("m2").exists()


def test_a_host_that_fails_says_what_did(hosts: Hosts) -> None:
    hosts.state("m1", "broken:\n  test.fail_without_changes: []\n")
    assert hosts("m1", "m2") == {"m1": "failed: broken: Failure!", "m2": "states applied"}


def test_a_host_whose_states_do_not_render_says_so(hosts: Hosts) -> None:
    hosts.state("m1", "{{ nonsense(\n")
    (found,) = hosts("m1").values()
    assert found.startswith("failed: ") and "m1" in found


def test_a_host_that_is_away_is_a_failure(hosts: Hosts, salt: Salt) -> None:
    salt.kill("m1")
    try:
        assert hosts("m1") == {"m1": f"failed: {SILENT}"}
        assert hosts.apply.clocks(["m1", "m2"]) == {"m2": 0.0}
    finally:
        salt.start("m1")


def test_a_host_that_is_forgotten_is_trusted_no_longer(hosts: Hosts, salt: Salt) -> None:
    keys = salt.root / "m" / "etc/salt/pki/master/minions"
    store = salt.root / "pki" / "host"
    for folder in (store / "m2", store / "m1"):
        folder.mkdir(parents=True)
    gone = keys / "gone"
    gone.write_bytes((keys / "m1").read_bytes())
    (store / "gone").mkdir()
    hosts.apply.forget(["gone", "never-there"])
    assert sorted(key.name for key in keys.iterdir()) == ["m1", "m2"]
    assert sorted(folder.name for folder in store.iterdir()) == ["m1", "m2"]
    salt.ready()
