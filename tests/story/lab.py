"""The lab as the tests use it: by the commands that its user has."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.story.load import Load

from pillarbox.model import Inventory

NAME = "pillarbox-test"
# A user's lab may run beside the tests', so theirs is on a network of its own.
PREFIX = "172.30.21"
PARTS = ("classes", "nodes", "formulas", "images", "manifests", "setup.cfg", "README.md")
KNOBS = "classes/cluster/lab/init.yml"
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

    def secrets(self) -> dict[str, str]:
        """Every secret of the deployment in the clear, straight from the key on the master; for assertions only."""
        script = (
            "import json, subprocess, yaml; "
            "p = yaml.safe_load(open('/srv/pillarbox/published/current/classes/cluster/lab/secrets.yml'))"
            "['parameters']['_param']; "
            "print(json.dumps({k: subprocess.run(['gpg', '--homedir', '/etc/salt/gpgkeys', '--batch', '--quiet', "
            "'--decrypt'], input=v, capture_output=True, text=True, check=True).stdout for k, v in p.items()}))"
        )
        command = [*COMMAND, "--model", str(self.model), "lab", "--name", self.name, "exec", "cfg01", "--"]
        done = run([*command, "/opt/salt/bin/python", "-c", script], capture_output=True, check=True)
        found: dict[str, str] = json.loads(done.stdout)
        return found

    @property
    def addresses(self) -> list[str]:
        """The hosts that run pods."""
        inventory = Inventory(self.model)
        nodes = [inventory.node(name).parameters for name in inventory.nodes]
        return [node["lab"]["host"]["address"] for node in nodes if "pool" in node.get("kubernetes", {})]

    def load(self) -> Load:
        """Requests on the cloud's services for as long as the ``with`` block lasts."""
        return Load(self.addresses, self.secrets()["keystone_admin_password"])
