"""A cluster that kubeadm makes and upgrades, the documented way, on hosts that see what a release is made of."""

from __future__ import annotations

import json
import shlex
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jinja2
import yaml
from benchmarks.kubeadm import web
from benchmarks.kubeadm.hosts import Host
from benchmarks.kubeadm.release import COMMANDS, REPOSITORY, Release, name_of, take

from pillarbox.lab import parallel
from pillarbox.system import waiting
from pillarbox.system.errors import PillarboxError

HERE = Path(__file__).parent
FORMULAS = HERE.parents[1] / "formulas"
POD_RANGE, SERVICE_RANGE = "10.244.0.0/16", "10.96.0.0/16"
# kubeadm looks for a kernel's configuration, and refuses control groups v1, which the kubelet is told to accept.
IGNORED = "--ignore-preflight-errors=SystemVerification"
PAUSE = f"{REPOSITORY}/pause:local"
ON_MASTERS = {"etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler"}
READY_SECONDS = 600
# A host's own files: those of the formulas, so that only the way differs in which they came there.
FILES = (
    ("/etc/containerd/config.toml", FORMULAS / "containerd/files/config.toml", 0o644),
    ("/etc/systemd/system/containerd.service", FORMULAS / "containerd/files/containerd.service", 0o644),
    ("/etc/cni/net.d/10-bridge.conflist", FORMULAS / "kubernetes/files/cni-bridge.conflist", 0o644),
    ("/usr/local/sbin/container-host", FORMULAS / "linux/files/container-host", 0o755),
    ("/etc/systemd/system/container-host.service", FORMULAS / "linux/files/container-host.service", 0o644),
    ("/etc/systemd/system/kubelet.service", HERE / "kubelet.service", 0o644),
    ("/srv/benchmark/prepare-host", HERE / "prepare-host", 0o755),
)
# kubeadm's own names a plugin (prometheus) that the lab's CoreDNS is compiled without, and asks the host's name server.
COREFILE = """.:53 {
    errors
    health {
        lameduck 5s
    }
    ready
    kubernetes cluster.local in-addr.arpa
    cache 30
    loadbalance
    reload
}
"""


@dataclass
class Kubeadm:
    """The cluster. ``kubelet`` goes into the configuration of its kubelets; ``seconds`` has what each step took."""

    master: Host
    nodes: Sequence[Host]
    kubelet: Mapping[str, Any]
    seconds: dict[str, float] = field(default_factory=dict)

    @property
    def hosts(self) -> list[Host]:
        return [self.master, *self.nodes]

    def kubectl(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """As `tests.story.lab.Lab` offers it, too."""
        command = shlex.join(["kubectl", "--kubeconfig", "/etc/kubernetes/admin.conf", *arguments])
        return subprocess.CompletedProcess(command, 0, self.master.run(command))

    def objects(self, kind: str) -> list[dict[str, Any]]:
        """As `tests.story.lab.Lab` offers it, too."""
        items: list[dict[str, Any]] = json.loads(self.kubectl("get", kind, "-o", "json").stdout)["items"]
        return items

    def pack(self, packer: Host, release: Release) -> None:
        """Make the images of a release, from which a registry would serve them elsewhere."""
        packer.put("/srv/benchmark/kubeadm.yml", yaml.safe_dump_all(self._configuration(release)))
        command = [release.command("kubeadm"), "config", "images", "list", "--config", "/srv/benchmark/kubeadm.yml"]
        # What kube-proxy calls and reads is Debian's.
        packer.run("apt-get -qq update; apt-get -qq install --no-install-recommends --yes nftables netbase")
        release.pack(packer, [*packer.run(shlex.join(command)).split(), PAUSE, web.IMAGE])

    def make(self, release: Release) -> None:
        """From hosts that only booted to nodes that are all Ready."""
        with self._timed("hosts prepared"):
            parallel.each(lambda host: self._prepare(host, release), self.hosts)
        with self._timed("images imported"):
            self._import(release)
        with self._timed("kubeadm init"):
            self.master.put("/etc/kubernetes/kubeadm.yml", yaml.safe_dump_all(self._configuration(release)))
            self.master.run(f"kubeadm init --config /etc/kubernetes/kubeadm.yml {IGNORED}")
            patch = json.dumps({"data": {"Corefile": COREFILE}})
            self.kubectl("--namespace", "kube-system", "patch", "configmap", "coredns", "--patch", patch)
        with self._timed("kubeadm join"):
            join = self.master.run("kubeadm token create --print-join-command").strip()
            parallel.each(lambda host: host.run(f"{join} {IGNORED}"), self.nodes)
        with self._timed("all Ready"):
            self._wait("node", "--all", "condition=Ready")
            rollout = ("rollout", "status", "deployment/coredns", f"--timeout={READY_SECONDS}s")
            self.kubectl("--namespace", "kube-system", *rollout)

    def upgrade(self, release: Release) -> None:
        """As https://kubernetes.io/docs/tasks/administer-cluster/kubeadm/kubeadm-upgrade/ says."""
        with self._timed("new images imported"):
            self._import(release)
        for host in self.hosts:
            with self._timed(f"{host.name} upgraded"):
                self._link(host, release, "kubeadm")
                what = f"apply {release.version} --yes" if host is self.master else "node"
                host.run(f"kubeadm upgrade {what} {IGNORED}")
                self._insist("drain", host.name, "--ignore-daemonsets", f"--timeout={READY_SECONDS}s")
                self._link(host, release, "kubelet", "kubectl")
                host.run("systemctl daemon-reload; systemctl restart kubelet")
                self._wait("node", host.name, "jsonpath={.status.nodeInfo.kubeletVersion}=" + release.version)
                self._wait("node", host.name, "condition=Ready")
                self._insist("uncordon", host.name)

    @contextmanager
    def _timed(self, step: str) -> Iterator[None]:
        start = time.monotonic()
        yield
        self.seconds[step] = time.monotonic() - start
        print(f"kubeadm: {step}: {self.seconds[step]:.0f} s", flush=True)

    def _wait(self, kind: str, which: str, condition: str) -> None:
        self._insist("wait", kind, which, f"--for={condition}", f"--timeout={READY_SECONDS}s")

    def _insist(self, *arguments: str) -> None:
        """Ask again while the API server is away: a newer kubelet starts all containers again, also that one."""
        what = f"kubectl {arguments[0]}"
        waiting.retry(lambda: self.kubectl(*arguments), what, passing=PillarboxError, patience=READY_SECONDS)

    def _prepare(self, host: Host, release: Release) -> None:
        ranges = {each.name: f"10.244.{number}.0/24" for number, each in enumerate(self.hosts)}
        capabilities = host.run("awk '/^CapBnd:/ { print $2 }' /proc/1/status")
        context = {
            "server": {},
            "systemd_cgroup": False,
            # CAP_SYS_RESOURCE, as the formulas look for it.
            "sys_resource": bool(int(capabilities, 16) >> 24 & 1),
            "network": {"range": ranges[host.name]},
        }
        for path, file, mode in FILES:
            host.put(path, _rendered(file, context), mode)
        self._link(host, release, *COMMANDS)
        routes = [f"{ranges[each.name]}={each.address}" for each in self.hosts if each is not host]
        host.run(shlex.join(["/srv/benchmark/prepare-host", ranges[host.name], POD_RANGE, *routes]))

    def _link(self, host: Host, release: Release, *commands: str) -> None:
        host.run(f"ln -sfn {' '.join(map(release.command, commands))} /usr/local/bin/")

    def _import(self, release: Release) -> None:
        """Bring each host the images that it will run, in place of a registry."""

        def one(host: Host) -> None:
            archives = host.run(f"ls {release.images}/*.tar").split()
            take(host, (each for each in archives if host is self.master or name_of(each) not in ON_MASTERS))

        parallel.each(one, self.hosts)

    def _configuration(self, release: Release) -> list[dict[str, Any]]:
        """kubeadm's configuration: images that are there, and what a container that plays a host needs."""
        cluster = {
            "kubernetesVersion": release.version,
            "imageRepository": REPOSITORY,
            "networking": {"serviceSubnet": SERVICE_RANGE},
            # CoreDNS keeps the tag that kubeadm expects: it knows how to go from one of its own versions to the next.
            "etcd": {"local": {"imageTag": release.versions["etcd"]}},
        }
        init = {"localAPIEndpoint": {"advertiseAddress": self.master.address}}
        here = {"cgroupDriver": "cgroupfs", "failCgroupV1": False, "failSwapOn": False, "oomScoreAdj": 0}
        proxy = {
            "mode": "nftables",
            "clusterCIDR": POD_RANGE,
            "conntrack": {"maxPerCore": 0, "min": 0, "tcpCloseWaitTimeout": "0s", "tcpEstablishedTimeout": "0s"},
            "oomScoreAdj": 0,
        }
        return [
            {"apiVersion": "kubeadm.k8s.io/v1beta4", "kind": "InitConfiguration"} | init,
            {"apiVersion": "kubeadm.k8s.io/v1beta4", "kind": "ClusterConfiguration"} | cluster,
            {"apiVersion": "kubelet.config.k8s.io/v1beta1", "kind": "KubeletConfiguration", **here, **self.kubelet},
            {"apiVersion": "kubeproxy.config.k8s.io/v1alpha1", "kind": "KubeProxyConfiguration"} | proxy,
        ]


def _rendered(file: Path, context: Mapping[str, Any]) -> str:
    """A file as it is, or one of a formula's, which Salt would render."""
    environment = jinja2.Environment(keep_trailing_newline=True)
    environment.filters["json"] = json.dumps
    return environment.from_string(file.read_text()).render(context)
