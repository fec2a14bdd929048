"""The underlay that highstates made: what it refuses, what it keeps secret, how packets go, and that it stays as it is.

The cluster's own story (images, rolling, load) is ``test_story``; here are the hosts below it.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.story.lab import Lab
from tests.story.neighbour import DNS, PYTHON, name_server

pytestmark = pytest.mark.lab

NODES = ("ctl01", "ctl02", "ctl03")
SECRET = "underlay-test"
MARKER = "a value that must never lie in etcd in the clear"
ETCDCTL = (
    "etcdctl", "--endpoints=https://127.0.0.1:2379", "--cacert=/etc/etcd/pki/ca.crt",
    "--cert=/etc/etcd/pki/server.crt", "--key=/etc/etcd/pki/server.key",
)  # fmt: skip


def code(lab: Lab, host: str, url: str) -> str:
    """The HTTP status that ``host`` gets from ``url`` without showing any certificate; ``000`` for no answer."""
    command = [
        "curl",
        "--silent",
        "--insecure",
        "--max-time",
        "5",
        "--output",
        "/dev/null",
        "--write-out",
        "%{http_code}",
    ]
    return lab.on(host, *command, url, check=False).stdout.strip()


@pytest.fixture
def secret(lab: Lab) -> Iterator[str]:
    lab.kubectl("create", "secret", "generic", SECRET, f"--from-literal=key={MARKER}")
    yield SECRET
    lab.kubectl("delete", "secret", SECRET)


def test_every_node_is_ready_with_the_labels_of_the_model(lab: Lab) -> None:
    nodes = {node["metadata"]["name"]: node for node in lab.objects("nodes")}
    assert set(NODES) <= set(nodes)
    for name in NODES:
        conditions = {each["type"]: each["status"] for each in nodes[name]["status"]["conditions"]}
        assert conditions["Ready"] == "True"
        assert nodes[name]["metadata"]["labels"]["role"] == "control"


def test_highstate_again_changes_nothing(lab: Lab) -> None:
    done = lab.on("cfg01", "salt", "--static", "--out=json", "*", "state.highstate", "queue=True")
    returned = json.loads(done.stdout)
    assert {"cfg01", "kmst01", *NODES} <= set(returned)
    for host, states in returned.items():
        assert isinstance(states, dict), (host, states)
        for state in states.values():
            assert state["result"] is True and not state["changes"], (host, state["__id__"], state)


@pytest.mark.parametrize(
    ("host", "url", "answers"),
    [
        ("ctl01", "https://kmst01:6443/api", {"401"}),
        ("ctl01", "https://kmst01:6443/version", {"401"}),
        ("cfg01", "https://ctl01:10250/pods", {"401"}),
        # Ports without authentication, which Kubernetes opens unless it is told not to.
        ("cfg01", "http://ctl01:10255/pods", {"000"}),
        ("ctl01", "http://kmst01:8080/api", {"000"}),
        ("ctl01", "http://kmst01:10251/healthz", {"000"}),
        ("ctl01", "http://kmst01:10252/healthz", {"000"}),
        ("ctl01", "https://kmst01:2379/version", {"000"}),
        ("ctl01", "http://kmst01:2379/version", {"000", "400"}),
    ],
)
def test_nobody_is_anonymous(lab: Lab, host: str, url: str, answers: set[str]) -> None:
    assert code(lab, host, url) in answers


def test_a_node_has_a_nodes_rights_and_no_more(lab: Lab, secret: str) -> None:
    as_node = ("kubectl", "--kubeconfig", "/etc/kubernetes/kubelet.conf")
    assert lab.on("ctl01", *as_node, "get", "node", "ctl01", check=False).returncode == 0
    for command in (("get", "secret", secret), ("label", "node", "ctl02", "a=b"), ("get", "secrets")):
        refused = lab.on("ctl01", *as_node, *command, check=False)
        assert refused.returncode != 0
        assert "orbidden" in refused.stderr


def test_secrets_are_encrypted_in_etcd(lab: Lab, secret: str) -> None:
    stored = lab.on("kmst01", *ETCDCTL, "get", "--hex", f"/registry/secrets/default/{secret}").stdout
    raw = bytes(int(byte, 16) for byte in stored.replace("\\x", " ").split())
    assert b"k8s:enc:secretbox" in raw
    assert MARKER.encode() not in raw


def test_the_audit_log_names_who_deployed_and_holds_no_secret(lab: Lab, secret: str) -> None:
    folder = "/var/log/kubernetes"
    modes = lab.on("kmst01", "stat", "--format=%a %U", folder, f"{folder}/audit.log").stdout.splitlines()
    assert modes == ["700 root", "600 root"]

    def logged(text: str) -> list[str]:
        """The lines of all logs that have a text."""
        command = ("grep", "--recursive", "--no-filename", "--fixed-strings", text, folder)
        done = lab.on("kmst01", *command, check=False)
        assert done.returncode in (0, 1), "no line is an answer, too; anything else is none"
        return done.stdout.splitlines()

    def who(verb: str, resource: str, name: str) -> set[str]:
        """The users that asked for this."""
        events = [json.loads(line) for line in logged(f'"name":"{name}"')]
        return {
            event["user"]["username"]
            for event in events
            if event["verb"] == verb and event["objectRef"]["resource"] == resource
        }

    assert "admin@cfg01" in who("patch", "deployments", "keystone-server")
    assert who("create", "secrets", secret)
    for hidden in (MARKER, base64.b64encode(MARKER.encode()).decode()):
        assert logged(hidden) == []


def test_keys_on_hosts_are_roots_alone(lab: Lab) -> None:
    for host in ("kmst01", *NODES):
        # Anything that others could read and that holds a private key.
        found = lab.on(
            host, "sh", "-c", "find /etc -xdev -type f -perm /077 -exec grep -l 'PRIVATE KEY' {} +", check=False
        )
        assert [line for line in found.stdout.splitlines() if "/ssl/" not in line] == []


# Prints, as JSON, the addresses of each name, or why there are none.
RESOLVE = """
import json, socket, sys

found = {}
for name in sys.argv[1:]:
    try:
        answers = socket.getaddrinfo(name, None, socket.AF_INET, socket.SOCK_STREAM)
        found[name] = sorted({answer[4][0] for answer in answers})
    except socket.gaierror as error:
        found[name] = "no such name" if error.errno == socket.EAI_NONAME else str(error)
print(json.dumps(found))
"""


@pytest.fixture
def asking(lab: Lab) -> Iterator[dict[str, str]]:
    """A pod with Python on each node, by the name of the node."""
    image = lab.objects("pods", "app=keystone-server")[0]["spec"]["containers"][0]["image"]
    pods = {node: f"asking-{node}" for node in NODES}
    try:
        for node, name in pods.items():
            spec = {"nodeName": node, "automountServiceAccountToken": False, "terminationGracePeriodSeconds": 0}
            overrides = json.dumps({"apiVersion": "v1", "spec": spec})
            options = [f"--image={image}", "--restart=Never", f"--overrides={overrides}", "--command"]
            lab.kubectl("run", name, *options, "--", "sleep", "3600")
        names = [f"pod/{name}" for name in pods.values()]
        lab.kubectl("wait", "--for=condition=Ready", "--timeout=240s", *names)
        yield pods
    finally:
        lab.kubectl("delete", "pod", "--ignore-not-found", *pods.values())


def test_pods_find_services_by_name_on_every_node(lab: Lab, asking: dict[str, str]) -> None:
    addresses = {each["metadata"]["name"]: [each["spec"]["clusterIP"]] for each in lab.objects("services")}
    wanted = {
        "kubernetes.default.svc.cluster.local": addresses["kubernetes"],
        "keystone-server": addresses["keystone-server"],
        "mariadb-server.default": addresses["mariadb-server"],
        "nothing-server": "no such name",
        # Nobody outside the cluster is asked, and no pod waits for an answer.
        "registry.example": "no such name",
    }
    for pod in asking.values():
        done = lab.kubectl("exec", pod, "--", "python3", "-c", RESOLVE, *wanted)
        assert json.loads(done.stdout) == wanted, pod


def test_services_are_carried_by_nftables(lab: Lab) -> None:
    for host in NODES:
        rules = lab.on(host, "nft", "list", "table", "ip", "kube-proxy").stdout
        assert all(f"default/{name}-server/" in rules for name in ("keystone", "glance", "mariadb")), host


def test_every_nodes_name_server_knows_the_cluster(lab: Lab) -> None:
    for host in NODES:
        ready = lab.on(host, "curl", "--silent", "--max-time", "5", "http://127.0.0.1:8053/ready", check=False)
        assert ready.stdout.strip() == "OK", host
        done = lab.on(host, PYTHON, "-c", DNS, name_server(lab))
        assert json.loads(done.stdout) == {"udp": 1, "tcp": 1}, host


def test_a_name_server_reads_services_and_no_more(lab: Lab) -> None:
    as_server = ("kubectl", "--kubeconfig", "/etc/coredns/kubeconfig")
    for kind in ("services", "namespaces", "endpointslices"):
        assert lab.on("ctl01", *as_server, "get", kind, "--all-namespaces", check=False).returncode == 0, kind
    for kind in ("secrets", "configmaps", "pods", "nodes"):
        refused = lab.on("ctl01", *as_server, "get", kind, "--all-namespaces", check=False)
        assert refused.returncode != 0 and "orbidden" in refused.stderr, kind


@pytest.mark.parametrize(
    "spec",
    [
        {"hostNetwork": True},
        {"hostPID": True},
        {"volumes": [{"name": "host", "hostPath": {"path": "/"}}]},
        {"containers": [{"name": "one", "image": "none", "securityContext": {"privileged": True}}]},
    ],
    ids=lambda spec: next(iter(spec)),
)
def test_a_pod_as_good_as_its_host_is_refused(lab: Lab, spec: dict[str, object]) -> None:
    def attempt(spec: dict[str, object]) -> tuple[int, str]:
        overrides = json.dumps({"apiVersion": "v1", "spec": spec})
        options = ("--image=none", "--dry-run=server", f"--overrides={overrides}")
        done = lab.kubectl("run", "as-its-host", *options, check=False)
        return done.returncode, done.stderr

    assert attempt({})[0] == 0, "it is not refused for anything else"
    code, error = attempt(spec)
    assert code != 0 and 'violates PodSecurity "baseline' in error


def test_other_pods_are_evicted_before_those_that_hold_data(lab: Lab) -> None:
    priorities = {
        app: {pod["spec"].get("priority", 0) for pod in lab.objects("pods", f"app={app}")}
        for app in ("mariadb-server", "rabbitmq-server", "keystone-server")
    }
    assert priorities == {"mariadb-server": {1000000}, "rabbitmq-server": {1000000}, "keystone-server": {0}}


def test_packets_for_what_is_not_there_stay_in_the_lab(lab: Lab) -> None:
    for host in ("cfg01", "kmst01", *NODES):
        for address in ("10.96.200.200", "10.244.200.200"):
            route = lab.on(host, "ip", "-4", "route", "get", address).stdout
            assert " via " not in route.splitlines()[0], (host, route)


def test_pods_are_reached_at_their_own_addresses_from_every_host(lab: Lab) -> None:
    pods = [
        (pod["status"]["podIP"], pod["spec"]["nodeName"])
        for pod in lab.objects("pods", "app=keystone-server")
        if not pod["metadata"].get("deletionTimestamp") and not pod["spec"].get("hostNetwork")
    ]
    assert len({node for _, node in pods}) > 1, "expected pods on several nodes"
    for address, _ in pods:
        for host in ("cfg01", *NODES):
            assert code(lab, host, f"http://{address}:5000/v3") == "200", (host, address)


def test_binaries_are_those_that_were_published(lab: Lab) -> None:
    check = "cd /srv/programs; for each in */; do (cd $each && sha256sum --check --quiet SHA256SUMS); done"
    lab.on("cfg01", "sh", "-ec", check)
    for host, command in (("kmst01", "kube-apiserver"), ("kmst01", "etcd"), ("ctl01", "kubelet"), ("ctl01", "runc")):
        file = lab.on(host, "readlink", "-f", f"/usr/local/bin/{command}").stdout.strip()
        assert Path(file).parent.parent == Path("/srv/programs")
