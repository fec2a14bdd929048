"""Network engines on a lab of its own, whose cloud answers all the time while it goes from one to another.

Plain routes; routers that hosts are at (docs/how-to/network.md); plain routes again; Cilium (docs/how-to/policies.md).

Cilium enforces the reference deployment's NetworkPolicies: the database answers only to who has an account in it.

Kubernetes comes from a URL there, and one node has kube-proxy's older way.
"""

from __future__ import annotations

import hashlib
import json
import re
import tarfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from tests import programs
from tests.docs.pages import File, steps
from tests.formulas.test_bird import PAGE
from tests.knobs import turn
from tests.machines import Machine, machines
from tests.manifests.reach import End, asking, reaches, soon
from tests.story.conftest import LabOf
from tests.story.lab import KNOBS, Lab, change
from tests.story.test_story import clone, push

__all__ = ["clone"]

# The first of them may have to compile.
pytestmark = [pytest.mark.lab, pytest.mark.long, pytest.mark.timeout(5400)]

NAME, PREFIX = "pillarbox-test-network", "172.30.28"
NODES = ("ctl01", "ctl02", "ctl03")
#: The routing protocol of the formula linux.
PLAIN = "proto 251"
STRANGER = "stranger"
#: Settings of the whole machine that Cilium's agent would change.
SETTINGS = ("kernel/unprivileged_bpf_disabled", "kernel/timer_migration")
#: Connects to address:port.
CONNECT = asking('bash -c "exec 3<>/dev/tcp/${each%:*}/${each#*:}"')


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """Kubernetes' binaries as an archive that this machine serves: what the model says of them."""
    kubelet = programs.compiled("kubernetes", "kubelet")
    if kubelet is None:
        pytest.skip("no Kubernetes here: a lab compiles it")
    folder = tmp_path_factory.mktemp("served")
    with tarfile.open(folder / "kubernetes.tar", "w") as tar:
        tar.add(kubelet.parent, "kubernetes/server/bin", filter=lambda each: None if "SUMS" in each.name else each)
    with open(folder / "kubernetes.tar", "rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    handler = partial(SimpleHTTPRequestHandler, directory=folder)
    with ThreadingHTTPServer(("", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield {
            "version": programs.version(kubelet.parent),
            "url": f"http://{PREFIX}.1:{server.server_port}/kubernetes.tar",
            "hash": f"sha256={digest}",
        }
        server.shutdown()
    # What the lab fetched from here is nothing that others should have.
    (programs.kept() / f"kubernetes-{programs.version(kubelet.parent)}-{digest[:12]}.tar").unlink(missing_ok=True)


@pytest.fixture(scope="module")
def lab(lab_of: LabOf, archive: dict[str, str]) -> Iterator[Lab]:
    """A lab with plain routes, to begin with."""
    with lab_of(NAME, PREFIX, partial(prepared, archive)) as lab:
        yield lab


def prepared(archive: dict[str, str], model: Path) -> None:
    """Have a model take Kubernetes from there, and one of its nodes kube-proxy's older way."""
    change(model / KNOBS, r"kubernetes_version: \S+", f"kubernetes_version: {archive['version']}")
    programs_of_hosts = model / "classes/cluster/lab/kubernetes/init.yml"
    change(programs_of_hosts, r"kubernetes: \{version: .*\}", f"kubernetes: {json.dumps(archive)}")
    with open(model / "nodes/hosts/ctl03.yml", "a") as file:
        file.write("  kubernetes:\n    pool:\n      proxy:\n        mode: iptables\n")


def changed(lab: Lab, clone: Path, message: str, *, away: bool = False) -> None:
    """Push and deploy what was changed, while requests go on that are all answered; where something may be ``away``
    meanwhile, requests come afterwards."""
    if away:
        push(clone, message)
        lab.deploy()
    with lab.load() as load:
        if away:
            load.asked()
        else:
            push(clone, message)
            lab.deploy()
    load.none_failed()
    assert lab.on("cfg01", "salt-run", "pillarbox.status", check=False).returncode == 0


def routes(lab: Lab, host: str, which: str) -> set[str]:
    """The ranges of pods that a host has a route to, of those that ``which`` selects."""
    listed = lab.on(host, "ip", "-4", "route", "show", *which.split()).stdout
    return set(re.findall(r"(?m)^(10\.244\.\d+\.0/24) ", listed))


def others(host: str) -> set[str]:
    """The ranges of the pods of all nodes but this one."""
    return {f"10.244.{name[-1]}.0/24" for name in NODES if name != host}


def test_kubernetes_comes_from_a_url(lab: Lab, archive: dict[str, str]) -> None:
    """It was fetched, and one node has the older way of kube-proxy; names and Services work all the same."""
    assert {*lab.kubelets().values()} == {archive["version"]}
    binary = lab.on("kmst01", "readlink", "/usr/local/bin/kube-apiserver").stdout
    # The directory's name has the beginning of what the model says that the archive's digest is.
    assert f"kubernetes-{archive['version']}" in binary and archive["hash"][7:15] in binary
    assert "KUBE-SERVICES" in lab.on("ctl03", "iptables-save", "--table", "nat").stdout
    assert "KUBE-SERVICES" not in lab.on("ctl01", "iptables-save", "--table", "nat", check=False).stdout
    with lab.load() as load:
        load.asked()
    load.none_failed()
    assert routes(lab, "ctl01", PLAIN) == others("ctl01")


@pytest.fixture(scope="module")
def routers(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Machine]]:
    """Two routers at the lab's network, with the configuration of the page."""
    scratch = tmp_path_factory.mktemp("routers")
    layer = programs.debian_layer("bird2-packages", scratch, "bird2", "systemd")
    if layer is None:
        pytest.skip("Debian's bird2 cannot be fetched here")
    networks = lab.container("cfg01").attrs["NetworkSettings"]["Networks"]
    (bridge,) = (f"br-{each['NetworkID'][:12]}" for each in networks.values())
    page = next(step.text for step in steps(PAGE) if isinstance(step, File) and step.path == "tor1.conf")
    page = re.sub(r"172\.30\.2[01]", PREFIX, page)
    with machines(scratch, "tor1", "tor2", layer=layer) as found:
        for number, router in enumerate(found, 1):
            router.plug("rack", bridge, f"pbtor{number}")
            router.run(f"ip link set rack up; ip address add {PREFIX}.{number + 1}/24 dev rack")
            text = page.replace("65001", f"6500{number}").replace(f"id {PREFIX}.2", f"id {PREFIX}.{number + 1}")
            router.write("/etc/bird/bird.conf", text)
            router.run("systemctl start bird")
        yield found


def test_from_plain_routes_to_routers(lab: Lab, clone: Path, routers: list[Machine]) -> None:
    """As the page has it, with one rack."""
    for step in steps(PAGE):
        if isinstance(step, File) and step.path.endswith(("rack/init.yml", "rack/a.yml")):
            file = clone / step.path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(re.sub(r"172\.30\.2[01]", PREFIX, step.text))
    for host in ("cfg01", "kmst01", *NODES):
        change(clone / f"nodes/hosts/{host}.yml", "(?m)^classes:", "classes:\n- cluster.lab.rack.a")
    turn(clone, "kubernetes_network: bridge", "kubernetes_network: bgp")
    changed(lab, clone, "Routers")
    for host in NODES:
        assert routes(lab, host, "proto bird") == others(host) and not routes(lab, host, PLAIN)
    for router in routers:
        learned = router.run("ip -4 route show proto bird")
        assert {each for each in re.findall(r"(?m)^(10\.244\.\S+)", learned)} == others("")


def test_a_router_is_gone(lab: Lab, routers: list[Machine]) -> None:
    routers[0].run("systemctl stop bird")
    try:
        with lab.load() as load:
            load.asked()
        load.none_failed()
    finally:
        routers[0].run("systemctl start bird")


def test_back_to_plain_routes(lab: Lab, clone: Path) -> None:
    turn(clone, "kubernetes_network: bgp", "kubernetes_network: bridge")
    changed(lab, clone, "Plain routes")
    for host in NODES:
        assert routes(lab, host, PLAIN) == others(host) and not routes(lab, host, "proto bird")


def test_from_plain_routes_to_cilium(lab: Lab, clone: Path) -> None:
    """Policies are off while nodes change, and then on. The database stays on its node, and is started again there."""
    before = {each: Path("/proc/sys", each).read_text() for each in SETTINGS}
    turn(clone, "kubernetes_network: bridge", "kubernetes_network: cilium")
    pool = clone / "classes/cluster/lab/kubernetes/network/cilium/pool.yml"
    change(pool, "shared_kernel: true", "shared_kernel: true\n      arguments: {enable-policy: never}")
    changed(lab, clone, "Cilium, without policies", away=True)
    change(pool, r"\n +arguments: \{enable-policy: never\}", "")
    changed(lab, clone, "Policies")
    assert {each: Path("/proc/sys", each).read_text() for each in SETTINGS} == before


@dataclass(frozen=True)
class Pod:
    """A pod that runs: its name, what policies know it by, its address, and the ports of its containers."""

    name: str
    end: End
    address: str
    ports: tuple[int, ...]

    @classmethod
    def of(cls, found: dict[str, Any]) -> Pod:
        meta, containers = found["metadata"], found["spec"]["containers"]
        return cls(
            meta["name"],
            End(meta["labels"]["app"], meta["namespace"]),
            found["status"]["podIP"],
            tuple(port["containerPort"] for each in containers for port in each.get("ports", ())),
        )


@pytest.fixture
def pods(lab: Lab) -> Iterator[list[Pod]]:
    """The cloud's pods, and one of a namespace of its own that has the label of one that may ask the database."""
    found = [each for each in lab.objects("pods") if each["status"]["phase"] == "Running"]
    keystone = next(each for each in found if each["metadata"]["labels"]["app"] == "keystone-server")
    image = keystone["spec"]["containers"][0]["image"]
    there = ("--namespace", STRANGER)
    lab.kubectl("create", "namespace", STRANGER)
    try:
        labels = ("--labels=app=keystone-server", f"--image={image}", "--command", "--", "sleep", "infinity")
        lab.kubectl("run", STRANGER, *there, *labels)
        lab.kubectl("wait", *there, "--for=condition=Ready", f"pod/{STRANGER}", "--timeout=300s")
        found.append(json.loads(lab.kubectl("get", "pod", STRANGER, *there, "--output=json").stdout))
        yield [Pod.of(each) for each in found]
    finally:
        lab.kubectl("delete", "namespace", STRANGER)


def reached(lab: Lab, client: Pod, targets: dict[str, bool]) -> None:
    """Of these addresses with ports, a pod has connections to those that are true, soon, and never to another."""
    inside = ("exec", "--namespace", client.end.namespace, client.name, "--", "bash", "-c", CONNECT, "ask", *targets)
    soon(client.name, targets, lambda: lab.kubectl(*inside).stdout, patience=60)


def test_pods_reach_whom_the_model_lets_them(lab: Lab, pods: list[Pod]) -> None:
    policies = lab.objects("networkpolicies")
    for client in pods:
        targets = {
            f"{server.address}:{port}": reaches(policies, client.end, server.end, port)
            for server in pods
            for port in server.ports
            if server is not client
        }
        reached(lab, client, targets)
    (database,) = (each for each in pods if each.end.app == "mariadb-server")
    allowed = {each.end for each in pods if reaches(policies, each.end, database.end, 3306)}
    assert allowed == {End(f"{name}-server") for name in ("keystone", "glance", "placement")}
    assert {End("keystone-server", STRANGER), End("memcached-server")} <= {each.end for each in pods}


def test_pods_are_replaced(lab: Lab) -> None:
    """Names, Services and policies, from pods old and new."""
    with lab.load() as load:
        lab.kubectl("rollout", "restart", "deployment/keystone-server", "deployment/placement-server")
        for name in ("keystone-server", "placement-server"):
            lab.kubectl("rollout", "status", f"deployment/{name}", "--timeout=300s")
    load.none_failed()
