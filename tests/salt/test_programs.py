"""Programs for hosts that share no directory, by a real master's file server and a real minion."""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.pipeline.support import Deployment, Salt

REVISION = "0" * 40
PINS = "files/coredns/1.15.0"
PROBE = """
{%- from 'program/map.jinja' import path, wait, binary with context %}
{{ wait('coredns', ['coredns', 'other']) }}
{{ binary('coredns', 'coredns', target=pillar.target) }}
"""


class Host:
    """A host that runs a program, and the directory on the master."""

    def __init__(self, salt: Salt, served: Path) -> None:
        self.salt, self.served = salt, served
        self.root = salt.deployment.root
        self.target = self.root / "bin" / "coredns"

    def name(self) -> str:
        """What the directory of the program is called."""
        low = self.call("state.show_low_sls", "probe")
        (source,) = {Path(chunk["source"]).parent for chunk in low if chunk["__id__"] == "program_binary_coredns"}
        return source.name

    def make(self, name: str, **commands: str) -> None:
        """What the host that makes programs leaves, the digests last."""
        directory = self.served / name
        directory.mkdir(parents=True, exist_ok=True)
        for command, text in commands.items():
            (directory / command).write_text(text)
        sums = "".join(f"{hashlib.sha256(text.encode()).hexdigest()}  {each}\n" for each, text in commands.items())
        (directory / "SHA256SUMS").write_text(sums)

    def call(self, *command: str) -> Any:
        done = self.salt.command("salt", "m1", *command, "--out=json", "--static", check=False)
        return json.loads(done.stdout)["m1"]

    def apply(self, timeout: int = 1) -> dict[str, dict[str, Any]]:
        """Each state's result by its name; waited for so many seconds."""
        pillar = json.dumps({"program": {"source": {"timeout": timeout}}})
        done = self.call("state.apply", "probe", f"pillar={pillar}")
        assert isinstance(done, dict), done
        return {each["__id__"]: each for each in done.values()}


@pytest.fixture(scope="module")
def daemons(repository: Path) -> Iterator[tuple[Salt, Path]]:
    root = Path(tempfile.mkdtemp(prefix="pb-"))
    deployment = Deployment(root)
    model = deployment.places.published / REVISION
    formula = repository / "formulas" / "program"
    for folder in ("classes", "nodes", "formulas/program/files"):
        (model / folder).mkdir(parents=True)
    for file in (formula / "map.jinja", formula / "files" / "wait", formula / "files" / "toolchain.yml"):
        shutil.copy(file, model / "formulas" / file.relative_to(formula.parent))
    shutil.copytree(formula / PINS, model / "formulas" / "program" / PINS)
    (model / "formulas" / "probe.sls").write_text(PROBE)
    source = {"saltenv": "programs", "directory": str(root / "host"), "program": {"coredns": {"version": "1.15.0"}}}
    parameters = {"salt": {"minion": {}}, "program": {"source": source}, "target": str(root / "bin" / "coredns")}
    (model / "nodes" / "m1.yml").write_text(yaml.safe_dump({"applications": ["probe"], "parameters": parameters}))
    deployment.places.current.symlink_to(REVISION)
    served = root / "programs"
    served.mkdir()
    (root / "secret").write_text("secret")
    salt = Salt(deployment, environments={"programs": served})
    try:
        yield salt.up(), served
    finally:
        salt.close()
        shutil.rmtree(root, ignore_errors=True)


@pytest.fixture
def host(daemons: tuple[Salt, Path]) -> Host:
    salt, served = daemons
    for directory in (served, salt.deployment.root / "host", salt.deployment.root / "bin"):
        shutil.rmtree(directory, ignore_errors=True)
    served.mkdir()
    return Host(salt, served)


def test_a_host_takes_what_the_master_made(host: Host) -> None:
    host.make(host.name(), coredns="one", other="two", third="three")
    first = host.apply()
    assert all(each["result"] for each in first.values()), first
    assert host.target.read_text() == "one"
    own = host.root / "host" / host.name()
    assert {file.name for file in own.iterdir()} == {"SHA256SUMS", "coredns", "other"}, (
        "what it needs, and nothing else"
    )
    assert {file.stat().st_mode & 0o777 for file in (own / "coredns", own / "other", host.target)} == {0o755}
    assert not any(each["changes"] for each in host.apply().values())


def test_a_host_waits_until_it_is_made(host: Host) -> None:
    found = host.apply()
    assert found["program_coredns_sums"]["result"] is False
    assert "SHA256SUMS?saltenv=programs not found" in found["program_coredns_sums"]["comment"]
    assert not host.target.exists()
    name = host.name()
    with ThreadPoolExecutor() as pool:
        later = pool.submit(host.apply, 60)
        # Time for a look that finds nothing. Where that takes longer, it finds it at the first one.
        time.sleep(5)
        host.make(name, coredns="one", other="two")
        assert all(each["result"] for each in later.result().values())
    assert host.target.read_text() == "one"


def test_what_was_not_made_is_not_run(host: Host) -> None:
    host.make(host.name(), coredns="one", other="two")
    (host.served / host.name() / "coredns").write_text("another")
    found = host.apply()
    assert found["program_coredns_complete"]["result"] is False
    assert found["program_binary_coredns"]["result"] is False
    assert not host.target.exists() and not (host.root / "host" / host.name() / "coredns").exists()
    (host.served / host.name() / "coredns").write_text("one")
    assert all(each["result"] for each in host.apply().values())


def test_nothing_beside_the_directory_is_served(host: Host) -> None:
    assert host.call("cp.get_file_str", f"salt://{host.root}/secret?saltenv=programs") is False
    assert host.call("cp.get_file_str", "salt://../secret?saltenv=programs") is False
    (host.served / "right").write_text("right")
    assert host.call("cp.get_file_str", "salt://right?saltenv=programs") == "right"
    assert host.call("cp.get_file_str", "salt://right") is False
    assert host.call("cp.get_file_str", "salt://probe.sls?saltenv=programs") is False
