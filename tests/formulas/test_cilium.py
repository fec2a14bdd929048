"""Cilium as the network engine: what the model says, and two nodes of it that enforce NetworkPolicies.

model   one changed line; certificates of its own, routes as with the engine `bridge`, and no warning of `check`
states  Salt compiles each host's highstate; the agent comes before the node's readiness is waited for
real    on machines of their own (systemd, Salt, a compiled Kubernetes): see the test (with --long, it takes minutes)
"""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from tests import compile, knobs, nodes, programs
from tests.controlplane import control_plane, free_port
from tests.formulas.test_hosts import ROOT, as_root, compiled, compiled_states, complaints, schema
from tests.machines import machines
from tests.manifests.reach import End, asking, reaches, soon
from tests.manifests.test_manifest_properties import OneNode
from tests.nodes import IMAGE, Cluster, image, made

from pillarbox import pki
from pillarbox.manifests import render
from pillarbox.model import Inventory
from pillarbox.pipeline.enforcement import unenforced
from pillarbox.revision import Revision
from pillarbox.system.waiting import until

# The first of them may have to compile.
pytestmark = pytest.mark.timeout(5400)

MASTER, NODES = "kmst01", ("ctl01", "ctl02")
NODE_STATES = ("linux.network", "containerd", "kubernetes", "coredns", "cilium")
DNS = "169.254.20.10"


@pytest.mark.parametrize(
    ("role", "wrong"),
    [
        ("agent", {"devices": "eth0"}),
        ("agent", {"shared_kernel": "yes"}),
        ("agent", {"range": "10.244.1.0/24"}),
        ("agent", {"clang": "19"}),
        ("operator", {"master": {}}),
        ("operator", {"arguments": {"debug": [1]}}),
    ],
)
def test_schema_refuses(role: str, wrong: dict[str, Any]) -> None:
    validator = jsonschema.Draft202012Validator(schema("cilium", role))
    right = {"enabled": True, "master": {"host": "192.0.2.1"}, "arguments": {"debug": "true"}}
    assert validator.is_valid(right)
    assert not validator.is_valid(right | wrong)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The reference model with Cilium, as docs/how-to/policies.md has it."""
    root = knobs.copy(tmp_path_factory.mktemp("model"), "nodes", "classes", "formulas", "images")
    knobs.turn(root, "kubernetes_network: bridge", "kubernetes_network: cilium")
    return root


@pytest.fixture(scope="module")
def inventory(model: Path) -> Inventory:
    return Inventory(model)


def test_one_line_is_another_engine(inventory: Inventory) -> None:
    before = Inventory(ROOT)
    for name in inventory.nodes:
        if name in before.nodes:
            now, then = inventory.node(name).parameters, before.node(name).parameters
            assert complaints(dict(now)) == []
            # Routes between hosts stay.
            assert now.get("linux") == then.get("linux")
    for name in NODES:
        node = inventory.node(name)
        network = node.parameters["kubernetes"]["pool"]["network"]
        assert (network["engine"], network["policies"]) == ("cilium", True)
        assert node.parameters["cilium"]["agent"]["shared_kernel"] and "cilium" in node.applications
        assert node.parameters["pki"]["certificate"]["cilium-agent"]["common_name"] == "cilium-agent"
    master = inventory.node(MASTER).parameters
    assert master["cilium"]["operator"]["enabled"]
    assert master["pki"]["certificate"]["cilium-operator"]["common_name"] == "cilium-operator"
    # Made last: what every cluster needs does not wait for it.
    made = [*inventory.node("cfg01").parameters["program"]["source"]["program"]]
    assert made[-1] == "cilium" and "kubernetes" in made


def test_nothing_is_left_to_warn_of(model: Path) -> None:
    assert [str(each) for each in unenforced(Revision.read(ROOT))]
    assert [str(each) for each in unenforced(Revision.read(model))] == []


def arguments(unit: str) -> list[str]:
    """The command line arguments that a unit's program is started with."""
    return re.findall(r"^  (--\S+?)(?: \\)?$", unit, re.MULTILINE)


def test_states_of_nodes_and_masters(inventory: Inventory, tmp_path: Path) -> None:
    (tmp_path / "node").mkdir()
    low, files = compiled("ctl01", inventory, tmp_path / "node")
    found = {chunk["__id__"]: chunk for chunk in low}
    # The node gets Ready by it.
    assert {"cmd": "kubernetes_pool_ready"} in found["cilium_agent_service"]["require_in"]
    assert found["cilium_agent_other"]["name"] == "/etc/cni/net.d/10-bridge.conflist"
    assert "/etc/cni/net.d/10-bridge.conflist" not in files
    given = arguments(files["/etc/systemd/system/cilium-agent.service"])
    assert {"--policy-cidr-match-mode=nodes", "--procfs=/var/lib/cilium/proc"} <= set(given)
    assert " -i " not in "".join(
        line for line in files["/etc/kubernetes/pod-firewall.rules"].splitlines() if "-s 10.244.1.0/24" in line
    )
    server = dict(inventory.node("ctl01").parameters)
    server["cilium"] = {"agent": server["cilium"]["agent"] | {"shared_kernel": False, "arguments": {"mtu": 1400}}}
    (tmp_path / "server").mkdir()
    low, files = compiled_states("ctl01", server, [*NODE_STATES], tmp_path / "server")
    given = arguments(files["/etc/systemd/system/cilium-agent.service"])
    assert "--mtu=1400" in given and not [each for each in given if "procfs" in each]
    assert "cilium_agent_proc" not in {chunk["__id__"] for chunk in low}

    # Of Calico, whose pods bring the network, nothing but the range is on the host.
    server["kubernetes"] = json.loads(json.dumps(server["kubernetes"]))
    server["kubernetes"]["pool"]["network"]["engine"] = "calico"
    (tmp_path / "calico").mkdir()
    low, files = compiled_states("ctl01", server, [*NODE_STATES[:-1]], tmp_path / "calico")
    found = {chunk["__id__"]: chunk for chunk in low}
    assert '"podCIDR": "10.244.1.0/24"' in found["kubernetes_pool_range"]["name"]
    assert not [name for name in files if name.startswith("/etc/cni")]

    (tmp_path / "master").mkdir()
    low, files = compiled(MASTER, inventory, tmp_path / "master")
    order = [chunk["__id__"] for chunk in low]
    assert order.index("kubernetes_master_ready") < order.index("cilium_operator_roles_applied")
    rules = [rule for each in yaml.safe_load_all(files["/etc/cilium/roles.yml"]) for rule in each.get("rules", ())]
    assert rules and not [rule for rule in rules if "secrets" in rule["resources"]]


# On machines of their own.

#: What pods run: each answers at two ports, of which policies know one as that of its Service.
APPS, OPEN, CLOSED = ("db", "api", "other"), 8080, 9090
SERVE = f"httpd -p {CLOSED} -h /www; exec httpd -f -p {OPEN} -h /www"
#: What asks for a page, in pods and outside of the cluster.
WGET, CURL = asking('wget -q -O - "http://$each"'), asking('curl --silent --fail "http://$each"')
PORTS = [{"name": "web", "port": OPEN}, {"name": "metrics", "port": CLOSED}]
#: Denied by default; api asks db, and everybody may ask api.
CONTROL: dict[str, Any] = {
    "network_policy": {"default": {"from": [], "to": [{"peer": DNS, "ports": [53, {"port": 53, "protocol": "UDP"}]}]}},
    "service": {
        name: {
            "ports": [{"port": 80, "target_port": "web", **port}],
            "container": {"web": {"image": IMAGE, "ports": PORTS}},
            "network": network,
            **more,
        }
        for name, port, more, network in (
            ("db", {}, {}, {}),
            ("api", {"node_port": 30080}, {"type": "NodePort"}, {"from": ["all"], "to": ["service/db"]}),
        )
    },
}
#: Settings of the whole kernel that something on a host writes: in a test they are files.
SETTINGS = {
    "kernel/panic": "10",
    "kernel/panic_on_oops": "1",
    "vm/overcommit_memory": "1",
    "kernel/timer_migration": "1",
    "kernel/unprivileged_bpf_disabled": "2",
}


class WithCilium(Cluster):
    """Cilium on hosts; with its own BGP, if it is to have that."""

    bgp = False

    def pillar(self, name: str) -> dict[str, Any]:
        pillar = super().pillar(name)
        for role in pillar["cilium"].values():
            role["bgp"] = self.bgp
        return pillar


def connect(cluster: Cluster) -> None:
    """One network, at the master's bridge."""
    cluster.master.run("ip link add eth0 up type bridge; ip address add 172.30.20.11/24 dev eth0")
    for number, name in enumerate(NODES, 1):
        cluster.master.link(f"port{number}", cluster.machines[name], "eth0")
        cluster.master.run(f"ip link set port{number} master eth0")
        cluster.machines[name].run(f"ip address add 172.30.20.2{number}/24 dev eth0")
        cluster.machines[name].run("ip route add default via 172.30.20.11")
    # Who is no host of the cluster, but has a route to pods.
    cluster.master.run(
        "ip netns add outside; ip link add port0 up master eth0 type veth peer name eth0 netns outside;"
        "ip -n outside link set eth0 up; ip -n outside address add 172.30.20.99/24 dev eth0;"
        "ip -n outside route add 10.244.1.0/24 via 172.30.20.21"
    )


def gets(cluster: Cluster, client: str, targets: dict[str, bool]) -> None:
    """A pod, or somebody outside of the cluster, gets a page from targets that are true, and from no other."""
    names = " ".join(targets)

    def asked() -> str:
        if client == "outside":
            return cluster.master.run(f"ip netns exec outside sh -s {names}", text=CURL)
        return cluster.kubectl(f"exec --stdin {client} -- sh -s {names}", text=WGET, check=False)

    soon(client, targets, asked, patience=180)


@pytest.fixture(scope="module")
def cluster(inventory: Inventory, tmp_path_factory: pytest.TempPathFactory) -> Iterator[WithCilium]:
    scratch = tmp_path_factory.mktemp("cluster")
    compile.kept("cilium", "cilium-agent")
    archive, layer = image(), programs.debian_layer("cilium-hosts", scratch, "bird2", "clang-19", *nodes.PACKAGES)
    if layer is None:
        pytest.skip("Debian's packages for hosts cannot be fetched here")
    (layer / "image.tar").write_bytes(archive)
    with machines(scratch, MASTER, *NODES, layer=layer) as found:
        cluster = WithCilium(found, inventory, scratch, {**nodes.PROGRAMS, "cilium": "cilium-agent"})
        connect(cluster)
        for machine in found:
            for name, value in SETTINGS.items():
                machine.write(f"/run/settings/{name}", value + "\n")
                machine.run(f"mount --bind /run/settings/{name} /proc/sys/{name}")
            for name in ("containerd", "kubelet"):
                machine.run(f"mkdir -p /var/lib/{name}; mount -t tmpfs none /var/lib/{name}")
            machine.run("systemctl start systemd-journald")
        cluster.highstate(MASTER, "linux.network", "etcd", "kubernetes", "cilium")
        for name in NODES:
            cluster.highstate(name, *NODE_STATES)
            cluster.machines[name].run("ctr --namespace k8s.io images import /image.tar")
        yield cluster


def deployed(cluster: WithCilium) -> list[dict[str, Any]]:
    """Apply what the model's control pillar is rendered to, and a pod of each app on each node; the policies."""
    reads = yaml.safe_load((ROOT / "classes/system/kubernetes/control/coredns.yml").read_text())
    control = CONTROL | reads["parameters"]["kubernetes"]["control"]
    objects = [each.object for each in render(OneNode(control), {}) if each.kind != "Deployment"]
    cluster.apply(*objects)
    cluster.apply(
        *(
            {
                "apiVersion": "v1",
                "kind": "Pod",
                "metadata": {"name": f"{app}-{node}", "labels": {"app": app}},
                "spec": {
                    "nodeName": node,
                    "containers": [
                        {
                            "name": "web",
                            "image": IMAGE,
                            "imagePullPolicy": "Never",
                            "command": ["sh", "-c", SERVE],
                            "ports": [
                                {"name": "web", "containerPort": OPEN} | ({"hostPort": 8088} if app == "api" else {})
                            ],
                            # The kubelet's probes pass whatever the policies say.
                            "readinessProbe": {"httpGet": {"port": CLOSED}, "periodSeconds": 1},
                        }
                    ],
                },
            }
            for app in APPS
            for node in NODES
        )
    )
    cluster.kubectl("wait --for condition=Ready --timeout 300s pods --all")
    return [each for each in objects if each["kind"] == "NetworkPolicy"]


@as_root
@pytest.mark.long
def test_two_nodes_enforce_what_the_pillar_says(cluster: WithCilium) -> None:
    found = deployed(cluster)
    addresses = cluster.addresses()

    def check() -> None:
        for client, own in addresses.items():
            pods = {
                f"{address}:{port}": reaches(found, End(client.split("-")[0]), End(server.split("-")[0]), port)
                for server, address in addresses.items()
                for port in (OPEN, CLOSED)
                if address != own
            }
            gets(cluster, client, pods)

    check()
    # By name: every pod asks its node, and the policy for the Service's pods decides. Hosts are not for pods.
    hosts = [f"172.30.20.2{number}:10256/healthz" for number, _ in enumerate(NODES, 1)]
    for client in addresses:
        # A pod always reaches itself, through its Service, too.
        services = {
            f"{name}.default": client.startswith("api") for name in ("db", "api") if not client.startswith(name)
        }
        gets(cluster, client, services | dict.fromkeys(hosts, False))
    # Who is no host of the cluster: through ports of every node, and not at a pod's own address.
    public = [f"172.30.20.2{number}:{port}" for number, _ in enumerate(NODES, 1) for port in (30080, 8088)]
    own = f"{addresses['api-ctl01']}:{OPEN}"
    gets(cluster, "outside", {**dict.fromkeys([*public, *hosts], True), own: False})

    # What holds while an agent is away, and once it is back.
    for name in NODES:
        cluster.machines[name].run("systemctl stop cilium-agent")
    check()
    for name in NODES:
        cluster.machines[name].run("systemctl start cilium-agent; until cilium-dbg status --brief; do sleep 1; done")
    check()

    for name in NODES:
        machine = cluster.machines[name]
        again = cluster.highstate(name, *NODE_STATES)
        assert {key: each["changes"] for key, each in again.items() if each["changes"]} == {}
        assert "forbidden" not in machine.run("journalctl --unit cilium-agent --output cat")
        assert {key: machine.run(f"cat /run/settings/{key}").strip() for key in SETTINGS} == SETTINGS
    assert "forbidden" not in cluster.master.run("journalctl --unit cilium-operator --output cat")


#: The router's AS number, and that of all nodes: by it routes of the one node would not be taken by the other.
ROUTER, OWN = 65001, 65100
#: A router by the definition of Debian's bird2, which keeps routes of a node whose agent starts again.
BIRD = f"""
router id 172.30.20.11;
protocol device {{}}
template bgp node {{
  local 172.30.20.11 as {ROUTER};
  graceful restart on;
  ipv4 {{ import all; export none; }};
}}
""" + "".join(
    f"protocol bgp {name} from node {{ neighbor 172.30.20.2{number} as {OWN}; }}\n"
    for number, name in enumerate(NODES, 1)
)
#: What Cilium is told by objects of its own kinds.
BGP: tuple[dict[str, Any], ...] = (
    {
        "kind": "CiliumBGPClusterConfig",
        "metadata": {"name": "rack"},
        "spec": {
            "bgpInstances": [
                {
                    "name": "rack",
                    "localASN": OWN,
                    "peers": [
                        {
                            "name": "router",
                            "peerASN": ROUTER,
                            "peerAddress": "172.30.20.11",
                            "peerConfigRef": {"name": "router"},
                        }
                    ],
                }
            ]
        },
    },
    {
        "kind": "CiliumBGPPeerConfig",
        "metadata": {"name": "router"},
        "spec": {
            "gracefulRestart": {"enabled": True, "restartTimeSeconds": 120},
            "families": [{"afi": "ipv4", "safi": "unicast", "advertisements": {"matchLabels": {"announce": "pods"}}}],
        },
    },
    {
        "kind": "CiliumBGPAdvertisement",
        "metadata": {"name": "pods", "labels": {"announce": "pods"}},
        "spec": {"advertisements": [{"advertisementType": "PodCIDR"}]},
    },
)


@as_root
@pytest.mark.long
def test_its_own_bgp_announces_pods_to_a_router(cluster: WithCilium) -> None:
    wanted = {f"10.244.{number}.0/24": f"172.30.20.2{number}" for number, _ in enumerate(NODES, 1)}

    def routes() -> dict[str, str]:
        printed = cluster.master.run("birdc -s /run/rack.ctl show route", check=False)
        return dict(re.findall(r"^(10\.\S+) +unicast[^\n]*\n\tvia (\S+)", printed, re.MULTILINE))

    cluster.master.write("/etc/bird/rack.conf", BIRD)
    cluster.master.start("rack", "exec bird -f -c /etc/bird/rack.conf -s /run/rack.ctl")
    cluster.bgp = True
    try:
        cluster.highstate(MASTER, "cilium")
        for name in NODES:
            cluster.highstate(name, *NODE_STATES)
        cluster.apply(*({"apiVersion": "cilium.io/v2", **each} for each in BGP))
        assert until(lambda: routes() == wanted, "the routes to pods", patience=180), cluster.master.run(
            "birdc -s /run/rack.ctl show protocols all"
        )
        # While an agent starts again, the router keeps them.
        node = cluster.machines[NODES[0]]

        def back() -> bool:
            return routes() != wanted or node.succeeds("cilium-dbg bgp peers | grep -q established")

        for how in ("restart", "kill --signal=KILL"):
            node.run(f"systemctl {how} cilium-agent")
            assert until(back, "its agent", patience=180)
            assert routes() == wanted, how
        for name in NODES:
            assert "forbidden" not in cluster.machines[name].run("journalctl --unit cilium-agent --output cat")
        assert "forbidden" not in cluster.master.run("journalctl --unit cilium-operator --output cat")
    finally:
        cluster.bgp = False


# On a control plane of their own.


CLIENT = (("certificate", "crt"), ("key", "key"))


@pytest.mark.compiled
def test_of_several_operators_one_works_with_rights_of_its_own(inventory: Inventory, tmp_path: Path) -> None:
    made("cilium", "cilium-operator-generic")
    operator = programs.compiled("cilium", "cilium-operator-generic")
    kubectl = programs.compiled("kubernetes", "kubectl")
    (tmp_path / "host").mkdir()
    low, files = compiled(MASTER, inventory, tmp_path / "host")
    assert all(isinstance(chunk, dict) for chunk in low), low
    issued = pki.issue(inventory.node(MASTER).parameters, tmp_path / "host" / "pki")["pki"]["certificate"]
    material = issued["cilium-operator"]
    (tmp_path / "ca.crt").write_text(material["ca_certificate"])
    (tmp_path / "client.crt").write_text(material["certificate"])
    (tmp_path / "client.key").write_text(material["key"])
    with control_plane(tmp_path, f"--client-ca-file={tmp_path / 'ca.crt'}") as plane, ExitStack() as stack:

        def ask(command: str, text: str = "") -> str:
            given = [str(kubectl), f"--kubeconfig={plane.kubeconfig}", *command.split()]
            done = subprocess.run(given, input=text, capture_output=True, text=True, check=False)
            assert done.returncode == 0, done.stderr
            return done.stdout

        # Not before the API server has its own roles, by which everybody may ask for its version.
        assert until(lambda: ask("get clusterroles system:public-info-viewer --ignore-not-found"), "roles", patience=60)
        ask("apply --server-side --filename -", files["/etc/cilium/roles.yml"])
        config = yaml.safe_load(plane.kubeconfig.read_text())
        config["users"] = [
            {"name": "admin", "user": {f"client-{key}": str(tmp_path / f"client.{file}") for key, file in CLIENT}}
        ]
        (tmp_path / "operator.conf").write_text(yaml.safe_dump(config))
        unit = files["/etc/systemd/system/cilium-operator.service"]
        # Both are files of a host.
        given = [each for each in arguments(unit) if not each.startswith(("--k8s-kubeconfig-path", "--config="))]

        def start(number: int) -> subprocess.Popen[bytes]:
            config, address = tmp_path / "operator.conf", f"127.0.0.1:{free_port()}"
            own = [f"--k8s-kubeconfig-path={config}", f"--operator-api-serve-addr={address}"]
            log = stack.enter_context((tmp_path / f"operator{number}.log").open("wb"))
            process = subprocess.Popen([str(operator), *given, *own], stdout=log, stderr=log, cwd=tmp_path)
            stack.callback(end, process)
            return process

        def end(process: subprocess.Popen[bytes]) -> None:
            process.terminate()
            process.wait(30)

        def holder() -> str:
            lease = "leases --namespace kube-system --ignore-not-found cilium-operator-resource-lock"
            return ask(f"get {lease} --output jsonpath={{.spec.holderIdentity}}")

        def known() -> bool:
            return "ciliumnetworkpolicies.cilium.io" in ask("get customresourcedefinitions --output name")

        def waiting() -> bool:
            return b"Waiting for leader election" in (tmp_path / "operator2.log").read_bytes()

        first = start(1)
        assert until(known, "Cilium's kinds of objects", patience=120), (tmp_path / "operator1.log").read_text()[-3000:]
        before = holder()
        assert before
        start(2)
        assert until(waiting, "the other operator to wait", patience=60)
        assert holder() == before
        end(first)
        assert until(lambda: holder() not in ("", before), "the other operator to work", patience=60)
        for log in tmp_path.glob("operator*.log"):
            assert [line for line in log.read_text().splitlines() if "forbidden" in line] == []
