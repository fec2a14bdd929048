"""The lab as the tests use it: by the commands that its user has."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from docker.models.containers import Container
from tests.story.load import Load

from pillarbox.lab import hosts
from pillarbox.lab import settings as lab_settings
from pillarbox.lab import status as lab_status
from pillarbox.model import Inventory
from pillarbox.system.waiting import until

NAME = "pillarbox-test"
# A user's lab may run beside the tests', so theirs is on a network of its own.
PREFIX = "172.30.21"
PARTS = ("classes", "nodes", "formulas", "images", "manifests", "setup.cfg", "README.md")
KNOBS = "classes/cluster/lab/init.yml"
PATIENCE = 600.0
#: What a deploy says of a host.
APPLYING, APPLIED = "states being applied", "states applied"
COMMAND = [sys.executable, "-c", "from pillarbox.cli import main; main()"]


def run(command: list[str], **options: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, text=True, stdin=subprocess.DEVNULL, **options)


def own_model(source: Path, target: Path, name: str, prefix: str) -> Path:
    """The reference model for a lab of one's own: another name, on another network. Copied to ``target``."""
    for part in PARTS:
        if (source / part).is_dir():
            shutil.copytree(source / part, target / part)
        else:
            shutil.copy2(source / part, target / part)
    change(target / KNOBS, "lab_prefix: 172.30.20", f"lab_prefix: {prefix}")
    change(target / "classes/cluster/lab/host.yml", "name: pillarbox-lab", f"name: {name}")
    return target


def change(file: Path, pattern: str, new: str) -> None:
    """Replace what matches a pattern in a file, which must have it."""
    text, found = re.subn(pattern, new, file.read_text())
    assert found, f"{file} lacks {pattern!r}"
    file.write_text(text)


@dataclass(frozen=True)
class Deploying:
    """A deploy that goes on, or went on."""

    process: subprocess.Popen[bytes]
    #: It is there for as long as somebody has this.
    file: Any

    @property
    def said(self) -> str:
        """What it printed so far."""
        return Path(self.file.name).read_text()

    def end(self) -> int:
        """Wait for its end; its exit code."""
        return self.process.wait(timeout=1800)


@dataclass(frozen=True)
class Lab:
    """The running lab, by the commands that its user has."""

    model: Path
    name: str = NAME

    def command(self, *arguments: str | Path, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run ``pillarbox lab …``; its output is captured, and shown when a test fails."""
        command = [*COMMAND, "--model", str(self.model), "lab", "--name", self.name, *map(str, arguments)]
        done = run(command, capture_output=True)
        print(f"$ pillarbox lab {' '.join(map(str, arguments))}\n{done.stdout}{done.stderr}")
        assert not check or done.returncode == 0, f"pillarbox lab {arguments[0]} exited {done.returncode}"
        return done

    def on(self, host: str, *command: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run a command on a host of the lab."""
        return self.command("exec", host, "--", *command, check=check)

    def kubectl(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        return self.on("cfg01", "kubectl", "--kubeconfig", "/etc/kubernetes/admin.conf", *arguments, check=check)

    def objects(self, kind: str, selector: str = "") -> list[dict[str, Any]]:
        """The objects of a kind in the namespace ``default``."""
        command = ["get", kind, "-o", "json", *(["-l", selector] if selector else [])]
        items: list[dict[str, Any]] = json.loads(self.kubectl(*command).stdout)["items"]
        return items

    def orchestrate(self, name: str, check: bool = True, **pillar: Any) -> str:
        """Run an orchestration; all that it printed."""
        given = f"pillar={json.dumps(pillar)}"
        done = self.on("cfg01", "salt-run", "state.orchestrate", name, given, check=check)
        return done.stdout + done.stderr

    def backups(self) -> list[dict[str, Any]]:
        """Every backup on the master, oldest first."""
        listed = self.on("cfg01", "pillarbox", "backups", "--format", "json").stdout
        found: list[dict[str, Any]] = json.loads(listed)
        return found

    def deploy(self, check: bool = True) -> subprocess.CompletedProcess[str]:
        """The administrator's step, word for word."""
        return self.on("cfg01", "salt-run", "state.orchestrate", "orch.deploy", check=check)

    @contextmanager
    def deploying(self) -> Iterator[Deploying]:
        """The administrator's step while the block lasts; it has to end in it."""
        command = [*COMMAND, "--model", str(self.model), "lab", "--name", self.name, "exec", "cfg01", "--"]
        command += ["salt-run", "state.orchestrate", "orch.deploy"]
        file = tempfile.NamedTemporaryFile()  # noqa: SIM115
        with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=file, stderr=file) as process:
            found = Deploying(process, file)
            try:
                yield found
            finally:
                if process.poll() is None:
                    process.kill()
                print(f"$ orch.deploy\n{found.said}")

    def report(self) -> dict[str, Any]:
        """The record of the last run, which may go on."""
        found: dict[str, Any] = json.loads(
            self.on("cfg01", "pillarbox", "report", "--format", "json", check=False).stdout
        )
        return found

    def container(self, host: str) -> Container:
        """The host itself: what is done to it is done to the machine that it stands for."""
        settings = lab_settings.load(self.name)
        engine, _ = lab_status.connect(settings)
        return engine.client.containers.get(hosts.container_name(settings, host))

    @contextmanager
    def off(self, host: str) -> Iterator[None]:
        """A host loses its power, and has it again after the block; then it is waited for until the master reaches
        it."""
        self.container(host).kill()
        try:
            yield
        finally:
            self.container(host).start()
            assert until(
                lambda: self.on(host, "systemctl", "is-system-running", check=False).stdout.strip() == "running",
                f"{host} runs", patience=PATIENCE, every=1,
            )  # fmt: skip
            self.answering()

    def answering(self) -> None:
        """Wait until every minion answers the master."""
        assert until(
            lambda: self.on("cfg01", "salt", "*", "test.ping", check=False).returncode == 0,
            "minions answer", patience=PATIENCE, every=1,
        )  # fmt: skip

    def lose(self, host: str) -> None:
        """A host is gone with its disks; ``lab up`` makes an empty one in its place."""
        gone, prefix = self.container(host), hosts.volume_prefix(lab_settings.load(self.name), host)
        gone.remove(force=True, v=True)
        for name in [mount["Name"] for mount in gone.attrs["Mounts"] if mount.get("Type") == "volume"]:
            if name.startswith(prefix):
                gone.client.volumes.get(name).remove(force=True)

    def wait_for(self, deploy: Deploying, host: str, state: str) -> None:
        """Until a deploy that goes on says this of a host."""

        def so_far() -> bool:
            assert deploy.process.poll() is None, deploy.said
            report = self.report()
            return (report["kind"], report["state"]) == ("deploy", "running") and report["hosts"].get(host) == state

        assert until(so_far, f"{host}: {state}", patience=PATIENCE, every=0.5)

    def secrets(self) -> dict[str, str]:
        """Every secret of the deployment in the clear, straight from the key on the master; for assertions only."""
        script = (
            "import json, subprocess, yaml; "
            "p = yaml.safe_load(open('/srv/pillarbox/published/current/classes/cluster/lab/secrets.yml'))"
            "['parameters']['_param']; "
            "print(json.dumps({k: subprocess.run(['gpg', '--homedir', '/etc/salt/gpgkeys', '--batch', '--quiet', "
            "'--decrypt'], input=v, capture_output=True, text=True, check=True).stdout for k, v in p.items()}))"
        )
        found: dict[str, str] = json.loads(self.quietly("cfg01", "/opt/salt/bin/python", "-c", script))
        return found

    def quietly(self, host: str, *command: str) -> str:
        """What a command on a host printed, which is shown to nobody."""
        line = [*COMMAND, "--model", str(self.model), "lab", "--name", self.name, "exec", host, "--", *command]
        return run(line, capture_output=True, check=True).stdout

    @property
    def nodes(self) -> dict[str, str]:
        """The addresses of the hosts that run pods."""
        inventory = Inventory(self.model)
        hosts = {name: inventory.node(name).parameters for name in inventory.nodes}
        return {
            name: host["lab"]["host"]["address"] for name, host in hosts.items() if "pool" in host.get("kubernetes", {})
        }

    @property
    def addresses(self) -> list[str]:
        return [*self.nodes.values()]

    def kubelets(self) -> dict[str, str]:
        """The version of each node's kubelet."""
        return {
            each["metadata"]["name"]: each["status"]["nodeInfo"]["kubeletVersion"].removeprefix("v")
            for each in self.objects("nodes")
        }

    def ready(self, node: str) -> None:
        """Wait until a node is Ready."""
        command = ("wait", f"node/{node}", "--for=condition=Ready", "--timeout=120s")
        assert until(lambda: self.kubectl(*command, check=False).returncode == 0, f"{node} is ready", patience=PATIENCE)

    def load(self, away: str = "") -> Load:
        """Requests on the cloud's services for as long as the ``with`` block lasts, at all nodes but one."""
        asked = [address for name, address in self.nodes.items() if name != away]
        return Load(asked, self.secrets()["keystone_admin_password"])
