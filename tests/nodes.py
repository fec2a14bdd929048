"""A cluster of machines of a test: what each is, Salt makes of it by the model's states."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests import compile, programs
from tests.machines import Machine

from pillarbox import pki
from pillarbox.model import Inventory

#: What nodes have of Debian.
PACKAGES = (
    "conntrack",
    "containernetworking-plugins",
    "ebtables",
    "ethtool",
    "iptables",
    "nftables",
    "socat",
)
#: A command of each program that a cluster needs.
PROGRAMS = {"etcd": "etcd", "containerd": "containerd", "runc": "runc", "coredns": "coredns", "kubernetes": "kubelet"}
#: An image with busybox and a page.
IMAGE = "localhost/web:test"


def made(name: str, command: str) -> dict[str, str]:
    """What program:source:program says of a program that was compiled on this machine, now if it never was."""
    directory = compile.kept(name, command).parent
    return {"version": programs.version(directory), "path": str(directory)}


def image() -> bytes:
    """An archive with an image that holds busybox and a page."""
    busybox = programs.debian_root("busybox-static")
    if busybox is None:
        pytest.skip("Debian's busybox-static cannot be fetched here")
    layer, archive = io.BytesIO(), io.BytesIO()
    with tarfile.open(fileobj=layer, mode="w") as tar:
        tar.add(next(busybox.glob("**/bin/busybox")), "bin/busybox")
        for name in ("sh", "httpd", "wget", "nslookup", "timeout"):
            link = tarfile.TarInfo(f"bin/{name}")
            link.type, link.linkname = tarfile.SYMTYPE, "busybox"
            tar.addfile(link)
        page = tarfile.TarInfo("www/index.html")
        page.size = 3
        tar.addfile(page, io.BytesIO(b"ok\n"))
    digest = f"sha256:{hashlib.sha256(layer.getvalue()).hexdigest()}"
    config = {"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": [digest]}}
    manifest = [{"Config": "config.json", "RepoTags": [IMAGE], "Layers": ["layer.tar"]}]
    with tarfile.open(fileobj=archive, mode="w") as tar:
        for name, content in (
            ("layer.tar", layer.getvalue()),
            ("config.json", json.dumps(config).encode()),
            ("manifest.json", json.dumps(manifest).encode()),
        ):
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return archive.getvalue()


class Cluster:
    """Machines with the highstate of their roles, the first of them the master; ``commands`` has one of each
    program."""

    def __init__(
        self,
        found: Iterable[Machine],
        inventory: Inventory,
        scratch: Path,
        commands: Mapping[str, str] = PROGRAMS,
    ) -> None:
        self.machines = {machine.name: machine for machine in found}
        self.master = next(iter(self.machines.values()))
        self._inventory, self._scratch = inventory, scratch
        self.programs = {name: made(name, command) for name, command in commands.items()}

    def pillar(self, name: str) -> dict[str, Any]:
        """What a machine is told: its node's parameters, with certificates and programs."""
        pillar: dict[str, Any] = json.loads(json.dumps(dict(self._inventory.node(name).parameters)))
        pillar["pki"] = pki.issue(pillar, self._scratch / "pki")["pki"]
        pillar["program"]["source"] = {"link": True, "program": self.programs}
        return pillar

    def highstate(self, name: str, *states: str) -> dict[str, dict[str, Any]]:
        """Apply these states; nothing of them fails. What Salt says of each."""
        results = self.machines[name].apply(states, self.pillar(name))
        failed = {key: (each["comment"], each["changes"]) for key, each in results.items() if not each["result"]}
        assert not failed, (name, failed)
        return results

    def kubectl(self, command: str, *, text: str = "", check: bool = True) -> str:
        return self.master.run(f"kubectl --kubeconfig /etc/kubernetes/admin.conf {command}", text=text, check=check)

    def apply(self, *objects: dict[str, Any]) -> None:
        self.kubectl("apply --filename -", text=yaml.safe_dump_all(objects))

    def addresses(self) -> dict[str, str]:
        """The pods' addresses by name."""
        listed = json.loads(self.kubectl("get pods --output json"))["items"]
        return {each["metadata"]["name"]: each["status"]["podIP"] for each in listed}
