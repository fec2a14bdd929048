"""What somebody does who got into a pod, tried in a pod of Keystone; and what a neighbour on the network does, tried in
a container that is on the lab's network and knows nothing else of it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.story.lab import Lab, run
from tests.story.neighbour import DNS, PYTHON, Neighbour, background, container_of, listening, name_server, neighbour

from pillarbox.model import Inventory

pytestmark = pytest.mark.lab

# Prints, as JSON, what came of each attempt: the HTTP status, or what the kernel answered.
ATTACK = """
import json, os, ssl, sys, urllib.error, urllib.request

context = ssl._create_unverified_context()
token = ""
if os.path.exists("/var/run/secrets/kubernetes.io/serviceaccount/token"):
    token = open("/var/run/secrets/kubernetes.io/serviceaccount/token").read()

def status(url):
    request = urllib.request.Request(url, headers={"Authorization": "Bearer " + token} if token else {})
    try:
        return urllib.request.urlopen(request, timeout=10, context=context).status
    except urllib.error.HTTPError as error:
        return error.code

def written(path):
    try:
        open(path, "w").close()
        return "written"
    except OSError as error:
        return error.strerror

api = "https://%s:%s" % (os.environ["KUBERNETES_SERVICE_HOST"], os.environ["KUBERNETES_SERVICE_PORT"])
rights = dict(line.split(":\\t", 1) for line in open("/proc/self/status").read().splitlines() if ":\\t" in line)
print(json.dumps({
    "user": os.getuid(),
    "capabilities": rights["CapEff"].strip("0"),
    "new privileges": rights["NoNewPrivs"],
    "api": [status(api + path) for path in ("/api/v1/secrets", "/api/v1/namespaces/default/secrets/mariadb",
                                            "/api/v1/nodes", "/apis/apps/v1/deployments")],
    "kubelet": status("https://%s:10250/pods" % sys.argv[1]),
    "written": [written(path) for path in ("/entrypoint.sh", "/etc/passwd", "/entrypoint.d/api")],
}))
"""


def test_a_pod_has_its_own_rights_and_no_more(lab: Lab) -> None:
    pods = lab.objects("pods", "app=keystone-server")
    pod = next(each for each in pods if "deletionTimestamp" not in each["metadata"])
    place = ("-c", pod["spec"]["containers"][0]["name"], pod["metadata"]["name"])
    done = lab.kubectl("exec", *place, "--", "python3", "-c", ATTACK, pod["status"]["hostIP"])
    found = json.loads(done.stdout)
    assert found["user"] != 0 and found["capabilities"] == "" and found["new privileges"] == "1"
    assert set(found["api"]) <= {401, 403} and found["kubelet"] in (401, 403)
    assert set(found["written"]) == {"Permission denied"}


REGISTRY, MASTER = "cfg01", "cfg01"
#: What a neighbour asks of each port, and what it must not get: an answer that is no refusal.
REQUESTS = [
    *(("GET", path) for path in ("/", "/v2/", "/v2/_catalog", "/api", "/version", "/healthz", "/metrics", "/pods")),
    *(
        ("GET", path)
        for path in ("/api/v1/secrets", "/apis/apps/v1/deployments", "/openapi/v2", "/logs/", "/debug/pprof/")
    ),
    *(("GET", path) for path in ("/runningpods/", "/spec/", "/stats/summary", "/configz", "/v3/maintenance/status")),
    *(("POST", path) for path in ("/v2/lab/neighbour/blobs/uploads/", "/run/default/a/b", "/v3/kv/range")),
    *(("PUT", path) for path in ("/v2/lab/memcached-server/manifests/bookworm", "/v2/keys/a")),
    ("DELETE", "/v2/lab/memcached-server/manifests/bookworm"),
]
#: That a proxy of Services works is what load balancers ask it for.
HARMLESS = {10256: {"http GET /healthz"}}
NODE_PORTS = range(30000, 32768)


@pytest.fixture(scope="module")
def stranger(lab: Lab) -> Iterator[Neighbour]:
    with neighbour(lab) as found:
        yield found


@pytest.fixture(scope="module")
def hosts(lab: Lab) -> dict[str, str]:
    """The address of each host of the lab."""
    nodes = [Inventory(lab.model).node(name) for name in Inventory(lab.model).nodes]
    return {node.name: node.parameters["lab"]["host"]["address"] for node in nodes if "lab" in node.parameters}


def test_a_neighbour_is_refused_at_every_port(
    lab: Lab, stranger: Neighbour, hosts: dict[str, str], repository: Path
) -> None:
    """All that listens is in the table of the trust page, and answers nobody without credentials."""
    table = (repository / "docs/trust.md").read_text().partition("## A neighbour on the network")[2]
    known = {int(port) for row in re.findall(r"^\| ([\d, ]+) \|", table, re.MULTILINE) for port in row.split(",")}
    targets, found = [], set()
    for host, address in hosts.items():
        for protocol, bound, port in listening(lab, host):
            # A node's name server has a test of its own, below.
            if bound.startswith("127.") or bound in ("::1", name_server(lab)):
                continue
            assert protocol == "tcp", (host, protocol, bound, port)
            found.add(port)
            targets.append((address, port, [] if port in NODE_PORTS else REQUESTS))
    assert {port for port in found if port not in NODE_PORTS} == known
    for where, answers in stranger.probe(targets).items():
        port = int(where.rpartition(":")[2])
        assert answers.pop("connect") == "connected", where
        for asked, answer in answers.items():
            # 400: of TLS without TLS, or the other way round. 404: the registry has nothing beside /v2/.
            refused = answer in (400, 401, 403, 404) or not isinstance(answer, int)
            assert refused or asked in HARMLESS.get(port, ()), (where, asked, answer)
    # From this machine, which has the program, with no settings and no key.
    bare = ["-F", "/dev/null", "-o", "IdentityFile=/dev/null", "-o", "IdentityAgent=none", "-o", "BatchMode=yes"]
    bare += ["-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null"]
    login = run(["ssh", *bare, f"git@{hosts[MASTER]}"], capture_output=True)
    assert login.stderr.rstrip().endswith("Permission denied (publickey)."), "a key is the only way"
    # Not a question of a wrong address: who has an account is let in.
    assert lab.on("cfg01", "docker", "pull", f"{REGISTRY}:5000/lab/memcached-server:bookworm").returncode == 0


def test_a_neighbour_does_not_reach_what_listens_on_loopback(
    lab: Lab, stranger: Neighbour, hosts: dict[str, str]
) -> None:
    """A host that forwards packets may take some for its own loopback off the wire."""
    try:
        stranger.run("ip", "address", "flush", "dev", "lo")
        for host, address in hosts.items():
            ports = [
                port for protocol, bound, port in listening(lab, host) if bound == "127.0.0.1" and protocol == "tcp"
            ]
            stranger.run("ip", "route", "replace", "127.0.0.1/32", "via", address, "src", stranger.address)
            answers = stranger.probe([("127.0.0.1", port, []) for port in ports])
            # Dropped, which is no answer of the neighbour's own kernel.
            assert all(answer["connect"].startswith("TimeoutError") for answer in answers.values()), (host, answers)
    finally:
        stranger.run("ip", "route", "delete", "127.0.0.1/32", check=False)
        stranger.run("ip", "address", "replace", "127.0.0.1/8", "dev", "lo")


def test_a_neighbour_with_a_route_reaches_no_pod_and_no_service(
    lab: Lab, stranger: Neighbour, hosts: dict[str, str]
) -> None:
    """Databases, queues and caches have addresses of the cluster; hosts forward packets to these, but not anybody's."""
    inside = []
    for pod in lab.objects("pods"):
        if pod["metadata"].get("deletionTimestamp") or pod["spec"].get("hostNetwork") or "podIP" not in pod["status"]:
            continue
        for container in pod["spec"]["containers"]:
            inside += [(pod["status"]["podIP"], port["containerPort"], []) for port in container.get("ports", ())]
    for service in lab.objects("services"):
        if service["spec"].get("clusterIP") not in (None, "None"):
            inside += [(service["spec"]["clusterIP"], port["port"], []) for port in service["spec"]["ports"]]
    assert {11211, 3306, 5672} <= {port for _, port, _ in inside}
    gateways = [address for name, address in hosts.items() if name.startswith(("ctl", "kmst"))]
    for gateway in gateways:
        for destination in ("10.244.0.0/16", "10.96.0.0/16"):
            stranger.run("ip", "route", "replace", destination, "via", gateway)
        for where, answers in stranger.probe(inside).items():
            assert answers["connect"] != "connected", (gateway, where, answers)
    # Node ports are for everybody.
    (answer,) = stranger.probe([(hosts["ctl01"], 30500, [("GET", "/v3")])]).values()
    assert answer["http GET /v3"] == 200


def test_a_neighbour_with_a_route_is_answered_by_no_name_server(
    lab: Lab, stranger: Neighbour, hosts: dict[str, str]
) -> None:
    """Names and addresses of all Services are for pods; each node answers its own, and itself."""
    server = name_server(lab)
    try:
        for host, address in hosts.items():
            if host.startswith("ctl"):
                assert json.loads(lab.on(host, PYTHON, "-c", DNS, server).stdout) == {"udp": 1, "tcp": 1}
            stranger.run("ip", "route", "replace", f"{server}/32", "via", address)
            found = json.loads(stranger.python(DNS, server).out)
            assert not {1, 0} & set(found.values()), (host, found)
            # Dropped, which is no answer of the node's kernel either.
            assert not host.startswith("ctl") or set(found.values()) == {"TimeoutError"}, (host, found)
    finally:
        stranger.run("ip", "route", "delete", f"{server}/32", check=False)


# Sends commands to the master as if they needed no key, and listens to what it publishes until a word comes.
SALT = """
import json, sys, zmq
import salt.payload

address, marker = sys.argv[1:]
context = zmq.Context()
listener = context.socket(zmq.SUB)
listener.setsockopt(zmq.SUBSCRIBE, b"")
listener.connect(f"tcp://{address}:4505")
loads = [
    {"cmd": "ping"},
    {"cmd": "_prep_auth_info"},
    {"cmd": "_pillar", "id": "ctl01", "grains": {}, "saltenv": "base", "ver": "2"},
    {"cmd": "_serve_file", "id": "ctl01", "path": "top.sls", "saltenv": "base", "loc": 0},
    {"cmd": "_file_list", "id": "ctl01", "saltenv": "base"},
    {"cmd": "_master_opts", "id": "ctl01"},
    {"cmd": "_ext_nodes", "id": "ctl01"},
    {"cmd": "_minion_event", "id": "ctl01", "tag": f"forged/{marker}", "data": {"a": marker}},
    {"cmd": "_return", "id": "ctl01", "jid": "20200101000000000000", "fun": "test.arg", "return": marker},
    {"cmd": "publish", "fun": "test.arg", "arg": [marker], "tgt": "*", "ret": "", "jid": "", "user": "root", "key": ""},
    {"cmd": "_send_pub", "fun": "test.arg", "arg": [marker], "tgt": "*", "tgt_type": "glob", "ret": "", "jid": "1"},
    {"cmd": "runner", "fun": "test.arg", "kwarg": {"arg": marker}, "user": "root", "key": ""},
    {"cmd": "wheel", "fun": "key.accept", "match": "intruder", "user": "root", "key": ""},
    {"cmd": "get_token", "token": "a"},
    {"cmd": "mk_token", "eauth": "auto", "username": "root", "password": ""},
]
answers = []
for load in loads:
    for message in ({"enc": "clear", "load": load}, {"enc": "clear", "load": load, "version": 3}):
        sender = context.socket(zmq.REQ)
        sender.linger = 0
        sender.connect(f"tcp://{address}:4506")
        sender.send(salt.payload.dumps(message))
        answers.append(repr(sender.recv()) if sender.poll(8000) else "nothing")
        sender.close()
print(json.dumps(answers), flush=True)
heard = []
while listener.poll(int(60000)):
    heard.append(repr(listener.recv()))
    if len(heard) >= 2:
        break
print(json.dumps(heard))
"""


def test_a_neighbour_gets_nothing_of_the_salt_master(lab: Lab, stranger: Neighbour, hosts: dict[str, str]) -> None:
    """No pillar, no file, no job for who has no accepted key; nothing forged reaches the bus."""
    marker, master = "neighbours-marker", hosts[MASTER]
    bus = [
        "import salt.config, salt.utils.event, sys",
        "o = salt.config.master_config('/etc/salt/master')",
        "with salt.utils.event.get_master_event(o, o['sock_dir'], listen=True) as bus:",
        "    print('listening', flush=True)",
        "    while True:",
        "        event = bus.get_event(wait=600, full=True)",
        "        print(event, flush=True)",
        "        if event['tag'] == 'neighbours/end': break",
    ]
    with background(container_of(lab, MASTER), PYTHON, "-c", "\n".join(bus)) as events:
        events.until("listening")
        with background(stranger.container, PYTHON, "-c", SALT, master, marker) as salt:
            answers = salt.until("[")
            # Encrypted: what is published tells a neighbour no more than that something is.
            lab.on(MASTER, "salt", "*", "test.echo", "published-in-the-clear", check=False)
            heard = salt.until("[")
        assert "published-in-the-clear" not in heard and "enc" in heard
        for attempt in ("intruder", "ctl03"):
            settings = {"id": attempt, "master": master, "root_dir": f"/tmp/{attempt}", "auth_tries": 1}
            place = f"/tmp/{attempt}/conf"
            stranger.run("sh", "-c", 'mkdir -p "$1"; echo "$2" > "$1/minion"', "sh", place, json.dumps(settings))
            command = ["timeout", "60", "salt-call", f"--config-dir={place}", "--log-level=error", "pillar.items"]
            done = stranger.run(*command, check=False)
            assert done.code != 0 and "keystone" not in done.out + done.err, (attempt, done)
        lab.on(MASTER, "salt-call", "event.fire_master", "{}", "neighbours/end")
        seen = events.until("neighbours/end")
    # What it refuses, the master reports under a tag of its own.
    assert all("'tag': 'salt/job/error'" in line for line in seen.splitlines() if marker in line), seen
    root = lab.on(MASTER, "cat", "/var/cache/salt/master/.root_key").stdout.strip()
    assert root and root not in answers and "keystone" not in answers and "top.sls" not in answers
    keys = json.loads(lab.on(MASTER, "salt-key", "--out=json", "--list=all").stdout)
    try:
        assert "intruder" in keys["minions_pre"] and "intruder" not in keys["minions"]
        assert "ctl03" in keys["minions"]
        assert lab.on(MASTER, "salt", "ctl03", "test.ping", "--out=txt").stdout.strip() == "ctl03: True"
    finally:
        lab.on(MASTER, "salt-key", "--yes", "--delete=intruder", check=False)
        lab.on(MASTER, "rm", "-f", "/etc/salt/pki/master/minions_denied/ctl03")


# A registry's address, taken over: says who came, and what they sent before they trusted it.
IMPOSTOR = """
import socket, ssl, subprocess

made = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", "/tmp/key", "-out", "/tmp/crt"]
subprocess.run([*made, "-subj", "/CN=cfg01", "-addext", "subjectAltName=DNS:cfg01"], check=True, capture_output=True)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain("/tmp/crt", "/tmp/key")
server = socket.create_server(("0.0.0.0", 5000))
print("listening", flush=True)
while True:
    connection, (address, _) = server.accept()
    connection.settimeout(20)
    try:
        with context.wrap_socket(connection, server_side=True) as trusted:
            print("trusted", address, trusted.recv(65536), flush=True)
    except OSError as error:
        print("refused", address, error, flush=True)
"""


def refused(lab: Lab, stranger: Neighbour, host: str, where: tuple[str, int], command: list[str]) -> None:
    """What asks a service at that address and port works, and sends nothing to who is in the middle and answers for it
    with another authority's certificate."""
    assert lab.on(host, *command).returncode == 0
    address, port = where
    rule = ["OUTPUT", "-p", "tcp", "-d", address, "--dport", str(port)]
    rule += ["-j", "DNAT", "--to-destination", f"{stranger.address}:5000"]
    with background(stranger.container, PYTHON, "-c", IMPOSTOR) as impostor:
        impostor.until("listening")
        lab.on(host, "iptables", "-w", "-t", "nat", "-I", *rule)
        try:
            done = lab.on(host, *command, check=False)
        finally:
            lab.on(host, "iptables", "-w", "-t", "nat", "-D", *rule)
        assert done.returncode != 0 and "x509" in done.stderr + done.stdout
        came = impostor.until("refused")
    assert "trusted" not in came and "Authorization" not in came


@pytest.mark.parametrize(("host", "command"), [("cfg01", ["docker", "pull"]), ("ctl01", ["ctr", "pull"])])
def test_a_neighbour_is_not_taken_for_the_registry(
    lab: Lab, stranger: Neighbour, hosts: dict[str, str], host: str, command: list[str]
) -> None:
    if command[0] == "ctr":
        command = ["ctr", "--namespace", "k8s.io", "images", "pull", "--hosts-dir", "/etc/containerd/certs.d"]
    image = f"{REGISTRY}:5000/lab/memcached-server:bookworm"
    refused(lab, stranger, host, (hosts[REGISTRY], 5000), [*command, image])


def test_a_neighbour_is_not_taken_for_the_api_server(lab: Lab, stranger: Neighbour, hosts: dict[str, str]) -> None:
    command = ["kubectl", "--kubeconfig", "/etc/kubernetes/admin.conf", "get", "--raw", "/version"]
    refused(lab, stranger, "cfg01", (hosts["kmst01"], 6443), command)
