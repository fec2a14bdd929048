"""What a version of Kubernetes is made of: programs, as the formula `program` makes them, and images of these."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from benchmarks.kubeadm import web
from benchmarks.kubeadm.hosts import Host, LabHost

from pillarbox.lab import kept, shell
from pillarbox.lab.settings import LabSettings
from pillarbox.model import Inventory

PACK = "/srv/benchmark/pack-image"
# Images are looked for on the host alone: its kubelet is never told to pull what it has.
REPOSITORY = "localhost"
#: Which program each command belongs to.
COMMANDS = {
    "containerd": "containerd",
    "containerd-shim-runc-v2": "containerd",
    "ctr": "containerd",
    "runc": "runc",
    "kubelet": "kubernetes",
    "kubectl": "kubernetes",
    "kubeadm": "kubeadm",
}
# What each image holds, and where in it: each program with its command. kube-proxy calls `nft`, which has to know a
# protocol's name: of one that is listed by number, kube-proxy deletes at its start what it has just put in.
_HOLDS = {
    "kube-apiserver": [("kubernetes", "kube-apiserver", "/usr/local/bin/kube-apiserver")],
    "kube-controller-manager": [("kubernetes", "kube-controller-manager", "/usr/local/bin/kube-controller-manager")],
    "kube-scheduler": [("kubernetes", "kube-scheduler", "/usr/local/bin/kube-scheduler")],
    "kube-proxy": [
        ("kubernetes", "kube-proxy", "/usr/local/bin/kube-proxy"),
        ("", "/usr/sbin/nft", "/usr/sbin/nft"),
        ("", "/etc/protocols", "/etc/protocols"),
    ],
    "etcd": [("etcd", "etcd", "/usr/local/bin/etcd")],
    "coredns": [("coredns", "coredns", "/coredns")],
    "pause": [("kubernetes", "pause", "/pause")],
    web.NAME: [("coredns", "coredns", "/coredns")],
}


@dataclass(frozen=True)
class Release:
    """A version: of each program its own version and directory; ``images`` is where the archives of images are."""

    versions: Mapping[str, str]
    directories: Mapping[str, str]
    images: str

    @classmethod
    def read(cls, maker: Host) -> Release:
        """What the formula `program` made last on the host that makes programs."""
        made = json.loads(maker.run("cat /usr/local/lib/program/plan.json"))["programs"]
        versions = {each["name"]: each["version"] for each in made}
        directories = {each["name"]: each["directory"] for each in made}
        images = Path(directories["kubernetes"]).with_name(f"images-{versions['kubernetes']}")
        return cls(versions, directories, str(images))

    @property
    def version(self) -> str:
        return f"v{self.versions['kubernetes']}"

    def command(self, name: str) -> str:
        """The path of a command."""
        return f"{self.directories[COMMANDS[name]]}/{name}"

    def archive(self, reference: str) -> str:
        """The path of an image's archive."""
        return f"{self.images}/{reference.rpartition('/')[2]}.tar"

    def pack(self, host: Host, references: Iterable[str]) -> None:
        """Make the archive of each image, on a host that has no part in what is measured."""
        host.put(PACK, Path(__file__).with_name("pack-image").read_text(), 0o755)
        host.run(f"mkdir -p {self.images}")
        for reference in references:
            files = [
                f"{self.directories[program]}/{source}={target}" if program else f"{source}={target}"
                for program, source, target in _HOLDS[name_of(reference)]
            ]
            host.run(shlex.join([PACK, self.archive(reference), reference, *files]))


def name_of(reference: str) -> str:
    """What an image is called: `localhost/kube-proxy:v1.37.2` is kube-proxy."""
    return reference.rpartition("/")[2].partition(":")[0]


def take(host: Host, archives: Iterable[str]) -> None:
    """Give a host's containerd the images that it has not, in place of a registry."""
    known = host.run("ctr --namespace k8s.io images list --quiet").split()
    missing = (each for each in archives if f"{REPOSITORY}/{Path(each).stem}" not in known)
    host.run("; ".join(f"ctr --namespace k8s.io images import {each}" for each in missing))


def provide(settings: LabSettings, hosts: Mapping[str, LabHost], maker: str, versions: Mapping[str, str]) -> Release:
    """The release of these versions, in the directory that the model's hosts share for programs.

    The host ``maker`` makes what the machine's cache has not, by the formula `program` as in any lab, and alone.
    """
    containers, host = [each.container for each in hosts.values()], hosts[maker]
    kept.restore(settings, containers, print)
    formulas, here = settings.source / "formulas", "/srv/benchmark/formulas"
    shell.put_tree(host.container, here, formulas, [file for file in formulas.rglob("*") if file.is_file()])
    source = Inventory(settings.source).node(maker).parameters["program"]["source"]
    wanted = {name: {"version": version} for name, version in versions.items()}
    pillar = json.dumps({"program": {"source": {**source, "enabled": True, "program": wanted}}})
    command = ["salt-call", "--local", f"--file-root={here}", "--retcode-passthrough", "--state-output=changes"]
    shell.run(host.container, [*command, "state.apply", "program.complete", f"pillar={pillar}"])
    kept.save(settings, containers, print)
    return Release.read(host)
