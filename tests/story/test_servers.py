"""Three bare Debian machines become a cluster by the files and commands of ``docs/how-to/own-servers.md``.

What a test gives besides: addresses and names, a copy of this checkout, a key to push with, and what this machine has
of the programs, compiled from the same pins. What it has not, the master compiles, which takes up to half an hour.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from tests import programs
from tests.compile import named
from tests.docs.pages import DOCS, Command, File, matches, steps
from tests.machines import Machine
from tests.nodes import PROGRAMS
from tests.servers import Lan, servers, shell

from pillarbox.system.waiting import until

PAGE = DOCS / "how-to" / "own-servers.md"
SERVERS = {
    "srv01": ("bookworm", "10.20.0.11"),
    "srv02": ("bookworm", "10.20.0.12"),
    "srv03": ("trixie", "10.20.0.13"),
}
EXAMPLE = re.compile(r"ssh-ed25519 \S*Example\S* \S+")
FINGERPRINT = re.compile(r"\b[0-9a-f]{64}\b")
#: What needs a while until it is so, as the page says or a reader sees.
LATER = re.compile(r"ci/bootstrap fingerprint|salt \S+ test\.ping|kubectl get nodes")


class Reader:
    """Who does what the page says, on the machine that it says."""

    def __init__(self, machines: dict[str, Machine], key: str) -> None:
        self._machines, self._key = machines, key
        self._here = dict.fromkeys(machines, "/root")

    def do(self, step: File | Command, server: str = "srv01") -> str:
        """What it prints."""
        machine = self._machines[server]
        if isinstance(step, File):
            machine.write(f"{self._here[server]}/{step.path}", EXAMPLE.sub(self._key, step.text))
            return ""
        expected = FINGERPRINT.sub("…", step.output)
        if LATER.match(step.text):
            found: list[subprocess.CompletedProcess[str]] = []

            def so() -> bool:
                found[:] = [self._run(machine, server, step.text)]
                return found[0].returncode == 0 and matches(expected, found[0].stdout)

            until(so, step.text, patience=300, every=2)
            (done,) = found
        else:
            done = self._run(machine, server, step.text)
        print(f"{server}$ {step.text}\n{done.stdout}", flush=True)
        assert done.returncode == 0, f"line {step.line}: {step.text} exited {done.returncode}:\n{done.stdout}"
        assert not expected or matches(expected, done.stdout), f"line {step.line}: {step.text}:\n{done.stdout}"
        return done.stdout

    def _run(self, machine: Machine, server: str, text: str) -> subprocess.CompletedProcess[str]:
        here = f"/run/reader-{server}"
        done = shell(machine, f"cd {self._here[server]}\n{text}\ncode=$?; pwd > {here}; exit $code")
        self._here[server] = machine.run(f"cat {here}").strip()
        return done


def follow(machines: dict[str, Machine], key: str) -> None:
    """Do all of the page up to its variants."""
    reader = Reader(machines, key)
    text = PAGE.read_text(encoding="utf-8")

    def between(start: str, end: str) -> Iterator[File | Command]:
        first, last = (text.count("\n", 0, text.index(words)) + 1 for words in (start, end))
        return (step for step in steps(PAGE) if first < step.line < last)

    for step in between("# ", "## Every other server"):
        reader.do(step)
    # The master's own minion is there already, and its states were applied.
    for server in ("srv01", "srv02", "srv03"):
        fingerprints = set()
        for step in between("## Every other server", "The same with `srv03`"):
            assert isinstance(step, Command)
            if server == "srv01" and (step.server != "srv01" or "highstate" in step.text):
                continue
            where = server if step.server == "srv02" else step.server
            words, output = (each.replace("srv02", server) for each in (step.text, step.output))
            printed = reader.do(replace(step, text=words, output=output), where)
            if "fingerprint" in words:
                fingerprints |= {*FINGERPRINT.findall(printed)}
        assert len(fingerprints) == 1, fingerprints
    for step in between("The same with `srv03`", "## More of it"):
        reader.do(step)


@pytest.fixture(scope="module")
def machines(repository: Path) -> Iterator[dict[str, Machine]]:
    if os.geteuid() != 0:
        pytest.skip("needs root: it starts machines")
    # On a disk: containers' layers cannot lie on those of another file system.
    scratch = Path(tempfile.mkdtemp(prefix="pillarbox-servers-", dir="/var/tmp"))
    try:
        with servers(scratch, Lan("pbtests0", "10.20.0"), SERVERS) as found:
            for machine in found.values():
                prepare(machine, repository)
            yield found
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def prepare(machine: Machine, repository: Path) -> None:
    """A clone of Pillarbox's repository, as this checkout is; on the master programs, and who pushes."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=repository,
        check=True,
        capture_output=True,
    )
    tar = ["tar", "-C", repository, "--null", "--files-from=-", "--create"]
    archive = subprocess.run(tar, input=listed.stdout, check=True, capture_output=True).stdout
    shell(machine, "mkdir -p pillarbox && tar -C pillarbox -x --no-same-owner", data=archive, check=True)
    shell(
        machine,
        "git config --global user.name Alice; git config --global user.email alice@example.com\n"
        "cd pillarbox && git init --quiet --initial-branch=main && git add --all && git commit --quiet -m Pillarbox",
        check=True,
    )
    if machine.name != "srv01":
        return
    shell(machine, "ssh-keygen -q -t ed25519 -N '' -C alice@example.com -f .ssh/id_ed25519", check=True)
    machine.write("/root/.ssh/config", "StrictHostKeyChecking accept-new\n")
    for name in PROGRAMS:
        for made in programs.directories(name):
            if programs.version(made) == named(name):
                archive = subprocess.run(["tar", "-C", made.parent, "-c", made.name], check=True, capture_output=True)
                shell(machine, "mkdir -p /srv/programs && tar -C /srv/programs -x", data=archive.stdout, check=True)


# Not while another process makes or removes a lab: both change settings of this machine's kernel.
@pytest.mark.lab
@pytest.mark.long
def test_three_bare_machines_become_a_cluster(machines: dict[str, Machine]) -> None:
    master = machines["srv01"]
    follow(machines, master.run("cat /root/.ssh/id_ed25519.pub").strip())
    check(machines)


def check(machines: dict[str, Machine]) -> None:
    """Another deploy changes nothing; both nodes run what this registry has, and know its name."""
    master = machines["srv01"]
    again = shell(master, "salt-run state.orchestrate orch.deploy && pillarbox report", check=True).stdout
    report = again[again.rindex("deploy 2") :]
    assert "SUCCEEDED" in report and "left alone 5 objects" in report, report
    assert not re.search(r"^  (hosts|rolled|changed)$", report, re.MULTILINE), report
    highstates = shell(master, "salt --out=json --static '*' state.highstate", check=True).stdout
    for server, states in json.loads(highstates).items():
        assert {each["__id__"]: each["changes"] for each in states.values() if each["changes"]} == {}, server
    kubectl = "kubectl --namespace mycloud"
    shell(master, f"{kubectl} scale deployment memcached-server --replicas=2", check=True)
    shell(master, f"{kubectl} rollout status deployment memcached-server --timeout=180s", check=True)
    pods = json.loads(shell(master, f"{kubectl} get pods -o json", check=True).stdout)["items"]
    assert {pod["spec"]["nodeName"] for pod in pods} == {"srv02", "srv03"}
    (image,) = {pod["spec"]["containers"][0]["image"] for pod in pods}
    assert image.startswith("srv01:5000/mycloud/memcached-server:")
    address = shell(master, f"{kubectl} get service memcached-server -o 'jsonpath={{.spec.clusterIP}}'").stdout
    for pod in pods:
        inside = f"{kubectl} exec {pod['metadata']['name']} --"
        shell(master, f"{inside} memcached-check", check=True)
        assert address in shell(master, f"{inside} getent hosts memcached-server", check=True).stdout.split()
