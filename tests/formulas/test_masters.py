"""Several Kubernetes masters behind one address: what the model says by three lines, and the programs that keep it.

model       three masters are three lines; each knows the others, nodes and administrators know one address
updates     who runs a program is updated by itself when it changes, and no program goes back to an older minor version
states      Salt compiles each master's highstate; HAProxy and keepalived take what it writes
proxy       connections go to servers that are well by TLS of the right authority, and away from those that are not
address     it is on one host at a time, and moves when that one is gone or does not work
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import socketserver
import ssl
import subprocess
import sys
import threading
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import requests
import yaml
from tests import knobs, programs
from tests.controlplane import control_plane, free_port
from tests.formulas.test_hosts import ROOT, as_root, compiled_states, complaints

from pillarbox import pki
from pillarbox.lab import layout
from pillarbox.model import Inventory, Node
from pillarbox.pipeline.errors import PipelineError
from pillarbox.pipeline.updates import groups
from pillarbox.pipeline.versions import refuse_skips
from pillarbox.revision import Revision, is_host
from pillarbox.rollout import Cluster
from pillarbox.system.waiting import until

ADDRESSES = {"kmst01": "172.30.20.11", "kmst02": "172.30.20.12", "kmst03": "172.30.20.13"}
MASTERS = tuple(ADDRESSES)
ADDRESS = "172.30.20.250"


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory) -> Inventory:
    """The reference model with three masters, as docs/how-to/topology.md has it."""
    root = knobs.copy(tmp_path_factory.mktemp("model"), "nodes", "classes")
    knobs.three_masters(root)
    return Inventory(root)


def test_one_master_is_alone() -> None:
    found = Inventory(ROOT).node("kmst01")
    assert list(found.parameters["etcd"]["server"]["members"]) == ["kmst01"]
    assert not {"haproxy", "keepalived"} & set(found.applications)
    assert found.parameters["kubernetes"]["master"]["controller_manager"]["leader_elect"] is False


def test_three_masters_know_each_other_and_others_know_one_address(three: Inventory) -> None:
    found = layout.read(three)
    assert {host.name: str(host.address) for host in found.hosts if host.name in MASTERS} == ADDRESSES
    for name, address in ADDRESSES.items():
        parameters = dict(three.node(name).parameters)
        assert complaints(parameters) == []
        assert parameters["etcd"]["server"]["name"] == name
        members = parameters["etcd"]["server"]["members"]
        assert {each: at["host"] for each, at in members.items()} == ADDRESSES
        listen = parameters["haproxy"]["proxy"]["listen"]["kubernetes-apiserver"]
        assert {each: at["host"] for each, at in listen["servers"].items()} == ADDRESSES
        assert parameters["keepalived"]["cluster"]["instance"]["kubernetes"]["members"] == ADDRESSES
        master = parameters["kubernetes"]["master"]
        # The proxy has the same port, at the address that they share. An API server asks the etcd beside it alone: one
        # that has no data yet refuses what it is asked, and so would an API server elsewhere.
        assert master["apiserver"]["bind"] == address
        assert [each["host"] for each in master["etcd"]["members"]] == [address]
        assert master["controller_manager"]["leader_elect"] and master["scheduler"]["leader_elect"]
        names = parameters["pki"]["certificate"]["kubernetes-apiserver"]["alternative_names"]
        assert {f"IP:{ADDRESS}", f"IP:{address}"} <= set(names)
    nodes, admin = three.node("ctl01").parameters, three.node("cfg01").parameters
    assert nodes["kubernetes"]["pool"]["master"]["host"] == nodes["coredns"]["server"]["master"]["host"] == ADDRESS
    assert admin["kubernetes"]["client"]["apiserver"]["host"] == ADDRESS
    assert set(admin["etcd"]["client"]["members"]) == set(MASTERS)


NODES = ("ctl01", "ctl02", "ctl03")


def hosts_of(model: Inventory) -> dict[str, Node]:
    nodes = {name: model.node(name) for name in model.nodes}
    return {name: node for name, node in nodes.items() if is_host(node)}


@pytest.mark.parametrize(
    ("changed", "masters", "nodes"),
    [
        ("program:kubernetes:version", True, True),
        ("program:etcd:version", True, False),
        ("program:containerd:version", False, True),
        ("program:runc:version", False, True),
        ("program:coredns:version", False, True),
        ("program:cni-plugins:version", False, False),
        ("toolchain:version", True, True),
    ],
)
def test_who_runs_a_program_is_updated_by_itself(three: Inventory, changed: str, masters: bool, nodes: bool) -> None:
    path = f"program.source.{changed.replace(':', '.')}"
    for model, names in ((Inventory(ROOT), MASTERS[:1]), (three, MASTERS)):
        hosts = hosts_of(model)
        found = groups(dict.fromkeys(hosts, (path,)), hosts)
        # Made first; the host that makes them is a host like others, at last.
        assert (found[0].hosts, found[0].states) == (("cfg01",), ("program.complete",))
        single = [(name,) for name in names if masters], [(name,) for name in NODES if nodes]
        expected = [*(single[0] or [names]), *(single[1] or [NODES]), ("cfg01",)]
        assert [group.hosts for group in found[1:]] == expected
        drained = [group.drain.node for group in found if group.drain]
        assert drained == [name for name in NODES if nodes]


def test_etcd_and_kubernetes_go_back_to_no_older_minor_version(tmp_path: Path) -> None:
    for program, older in (("etcd", "3.6.16"), ("kubernetes", "1.36.3")):
        root = knobs.copy(tmp_path / program, "nodes", "classes", "formulas", "images")
        now = Inventory(ROOT).node("kmst01").parameters["program"]["source"]["program"][program]["version"]
        knobs.turn(root, f"{program}_version: {now}", f"{program}_version: {older}")
        with pytest.raises(PipelineError, match=f"program:source:program:{program}:version goes from {now}"):
            refuse_skips(hosts_of(Inventory(ROOT)), Revision.read(root))
        refuse_skips(hosts_of(Inventory(root)), Revision.read(ROOT))


def test_a_master_may_have_another_name_and_its_own_proxy(three: Inventory, tmp_path: Path) -> None:
    for folder in ("nodes", "classes"):
        shutil.copytree(Path(three.path) / folder, tmp_path / folder)
    node = {
        "classes": ["cluster.lab.kubernetes.master"],
        "parameters": {
            "_param": {"single_address": "172.30.20.14"},
            "haproxy": {"proxy": {"enabled": False}},
            "keepalived": {"cluster": {"enabled": False}},
        },
    }
    (tmp_path / "nodes/hosts/kube4.yml").write_text(yaml.safe_dump(node))
    grown = Inventory(tmp_path)
    assert set(grown.node("kmst01").parameters["etcd"]["server"]["members"]) == {*MASTERS, "kube4"}
    found = grown.node("kube4")
    (tmp_path / "salt").mkdir()
    low, _ = compiled_states("kube4", dict(found.parameters), list(found.applications), tmp_path / "salt")
    assert all(isinstance(chunk, dict) for chunk in low), low
    assert not {chunk["__sls__"] for chunk in low} & {"haproxy.proxy", "keepalived.cluster"}


def test_masters_share_the_keys_of_the_cluster(three: Inventory, tmp_path: Path) -> None:
    issued = [pki.issue(three.node(name).parameters, tmp_path)["pki"] for name in MASTERS]
    for name in ("kubernetes-service-account", "kubernetes-encryption"):
        assert len({each["key"][name]["key"] for each in issued}) == 1
    assert len({each["certificate"]["kubernetes-apiserver"]["key"] for each in issued}) == 3


#: The libraries that this machine may lack.
LIBRARIES = {
    "haproxy": ("liblua5.3-0", "libopentracing-c-wrapper0", "libopentracing1"),
    "keepalived": (
        "libglib2.0-0",
        "libnl-3-200",
        "libnl-genl-3-200",
        "libpci3",
        "libsensors5",
        "libsnmp40",
        "libwrap0",
    ),
}


def program(name: str) -> tuple[str, dict[str, str]]:
    """A program of Debian and its environment; skips where it cannot be had."""
    root = programs.debian_root(name, *LIBRARIES[name])
    if root is None:
        pytest.skip(f"Debian's {name} cannot be fetched here")
    folders = [str(path) for parent in (root / "usr/lib", root / "lib") for path in parent.glob("*-linux-gnu")]
    return str(root / "usr/sbin" / name), {**os.environ, "LD_LIBRARY_PATH": ":".join(folders)}


def proxy_config(text: str, scratch: Path, pki_folder: Path) -> Path:
    """The proxy's configuration where this machine lacks its account and directories."""
    for old, new in {"user haproxy": "user root", "group haproxy": "group root"}.items():
        assert old in text
        text = text.replace(old, new)
    text = text.replace("/etc/haproxy/pki", str(pki_folder))
    file = scratch / "haproxy.cfg"
    file.write_text(text.replace("chroot /var/lib/haproxy", f"chroot {scratch}"))
    return file


def put_certificates(folder: Path, *issued: dict[str, Any]) -> None:
    """The files of the state `haproxy_proxy_…`, of these certificates by their names."""
    folder.mkdir()
    for certificates in issued:
        for name, material in certificates.items():
            for suffix, part in ((".crt", "certificate"), (".crt.key", "key"), ("-ca.crt", "ca_certificate")):
                (folder / f"{name}{suffix}").write_text(material[part])


@pytest.mark.parametrize("name", MASTERS)
def test_the_states_of_each_master_compile(three: Inventory, tmp_path: Path, name: str) -> None:
    node = three.node(name)
    parameters = json.loads(json.dumps(node.parameters))
    # No interface of this machine has the address of a master.
    parameters["keepalived"]["cluster"]["instance"]["kubernetes"]["interface"] = "lo"
    low, files = compiled_states(name, parameters, list(node.applications), tmp_path)
    assert low and all(isinstance(chunk, dict) for chunk in low), low
    order = [chunk["__id__"] for chunk in low]
    assert order.index("etcd_server_settled") < order.index("kubernetes_service_kube-apiserver")
    assert order.index("kubernetes_master_ready") < order.index("haproxy_proxy_service")
    for role, service in (("controller_manager", "kube-controller-manager"), ("scheduler", "kube-scheduler")):
        assert order.index(f"kubernetes_service_{service}") < order.index(f"kubernetes_master_{role}_leads")
    assert "--leader-elect=true" in files["/etc/systemd/system/kube-controller-manager.service"]
    assert "--leader-elect=true" in files["/etc/systemd/system/kube-scheduler.service"]

    issued = pki.issue(parameters, tmp_path / "pki")["pki"]["certificate"]
    put_certificates(tmp_path / "certificates", {"kubernetes-haproxy": issued["kubernetes-haproxy"]})
    haproxy, environment = program("haproxy")
    file = proxy_config(files["/etc/haproxy/haproxy.cfg"], tmp_path, tmp_path / "certificates")
    checked = subprocess.run([haproxy, "-c", "-f", file], env=environment, capture_output=True, text=True)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert "WARNING" not in checked.stdout + checked.stderr, checked.stderr

    found = [line.strip() for line in files["/etc/keepalived/keepalived.conf"].splitlines()]
    assert f"{ADDRESS}/32" in found and f"unicast_src_ip {ADDRESSES[name]}" in found
    assert {each for each in ADDRESSES.values() if each in found} == set(ADDRESSES.values()) - {ADDRESSES[name]}


def test_several_masters_of_which_none_is_elected_are_refused(three: Inventory, tmp_path: Path) -> None:
    for folder in ("nodes", "classes"):
        shutil.copytree(Path(three.path) / folder, tmp_path / folder)
    knobs.turn(tmp_path, "kubernetes_masters: cluster", "kubernetes_masters: single")
    node = Inventory(tmp_path).node("kmst01")
    (tmp_path / "salt").mkdir()
    low, _ = compiled_states("kmst01", dict(node.parameters), ["kubernetes"], tmp_path / "salt")
    assert "leader_elect is false, and there are several masters: kmst01, kmst02, kmst03" in str(low)


def test_who_is_no_member_is_refused(tmp_path: Path) -> None:
    instance = {"address": ADDRESS, "virtual_router_id": 51, "members": {"other": "192.0.2.1"}}

    def low(name: str, scratch: str) -> str:
        (tmp_path / scratch).mkdir()
        parameters = {
            "_reclass_": {"name": {"full": name}},
            "keepalived": {"cluster": {"enabled": True, "name": name, "instance": {"a": instance}}},
        }
        return str(compiled_states(name, parameters, ["keepalived"], tmp_path / scratch)[0])

    assert "keepalived:cluster:instance:a:members has no host, found: other" in low("host", "1")
    assert "no interface has 192.0.2.1; its name can be given as interface" in low("other", "2")


class Server:
    """A server that is asked whether it is well, over TLS with certificates of both."""

    def __init__(self, name: str, material: dict[str, str], scratch: Path) -> None:
        self.name, self.well = name, True
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(200 if outer.well else 500)
                self.end_headers()
                self.wfile.write(name.encode())

            def log_message(self, *_: object) -> None:
                pass

        class Quiet(ThreadingHTTPServer):
            def handle_error(self, *_: object) -> None:
                pass

        self.http = Quiet(("127.0.0.1", 0), Handler)
        for part in ("certificate", "key", "ca_certificate"):
            (scratch / f"{name}.{part}").write_text(material[part])
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=scratch / f"{name}.ca_certificate")
        context.load_cert_chain(scratch / f"{name}.certificate", scratch / f"{name}.key")
        context.verify_mode = ssl.CERT_REQUIRED
        self.http.socket = context.wrap_socket(self.http.socket, server_side=True, do_handshake_on_connect=False)
        self.port = int(self.http.server_address[1])
        threading.Thread(target=self.http.serve_forever, daemon=True).start()

    def close(self) -> None:
        self.http.shutdown()
        self.http.server_close()


def test_connections_go_to_servers_that_are_well(tmp_path: Path) -> None:
    haproxy, environment = program("haproxy")

    def asked(ca: str) -> dict[str, Any]:
        return {"ca": ca, "common_name": "x", "alternative_names": ["IP:127.0.0.1"], "usage": ["server", "client"]}

    pillar = {
        "_reclass_": {"name": {"full": "host"}},
        "pki": {"certificate": {"own": asked("a"), "strange": asked("b")}},
    }
    issued = pki.issue(pillar, tmp_path / "pki")["pki"]["certificate"]
    put_certificates(tmp_path / "certificates", issued)
    with ExitStack() as stack:
        servers = []
        for name, certificate in (("one", "own"), ("two", "own"), ("stranger", "strange")):
            servers.append(Server(name, issued[certificate], tmp_path))
            stack.callback(servers[-1].close)
        one, two, _ = servers
        port, health = free_port(), free_port()
        listen = {
            # The second address is no host's here.
            "binds": [{"address": each, "port": port} for each in ("127.0.0.1", "192.0.2.100")],
            "servers": {each.name: {"host": "127.0.0.1", "port": each.port} for each in servers},
            "check": {"path": "/readyz", "certificate": "own"},
        }
        proxy = {"enabled": True, "health_port": health, "listen": {"api": listen}}
        assert complaints({"haproxy": {"proxy": proxy}}) == []
        text = compiled_states("host", {**pillar, "haproxy": {"proxy": proxy}}, ["haproxy"], tmp_path)[1]
        file = proxy_config(text["/etc/haproxy/haproxy.cfg"], tmp_path, tmp_path / "certificates")
        running = subprocess.Popen([haproxy, "-db", "-f", file], env=environment)
        stack.callback(running.wait)
        stack.callback(running.terminate)
        context = ssl.create_default_context(cafile=tmp_path / "one.ca_certificate")
        context.load_cert_chain(tmp_path / "one.certificate", tmp_path / "one.key")

        def answered() -> set[str]:
            """Who answers of a few connections; a failed one counts as nobody."""
            found = set()
            for _ in range(6):
                try:
                    with urllib.request.urlopen(f"https://127.0.0.1:{port}/", context=context, timeout=5) as answer:
                        found.add(answer.read().decode())
                except OSError:
                    found.add("")
            return found

        def seen(names: set[str]) -> bool:
            return bool(until(lambda: answered() == names, f"answers of {names}", patience=60))

        assert seen({"one", "two"}), "and never one of another authority"
        two.well = False
        assert seen({"one"})
        two.well = True
        assert seen({"one", "two"})
        one.close()
        assert seen({"two"})
        two.well = False
        # Nobody is left: that is refused, and the proxy itself goes on.
        assert seen({""})
        with urllib.request.urlopen(f"http://127.0.0.1:{health}/", timeout=5) as answer:
            assert answer.status == 200


def test_a_server_that_is_taken_away_keeps_no_connection(tmp_path: Path) -> None:
    """A process of the proxy with the servers of before does not look after them any more: it has to end."""
    haproxy, environment = program("haproxy")

    class Name(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            self.request.sendall(str(self.server.server_address[1]).encode())
            self.request.recv(1)

    with ExitStack() as stack:
        servers = [socketserver.ThreadingTCPServer(("127.0.0.1", 0), Name) for _ in range(2)]
        for server in servers:
            stack.callback(server.server_close)
            stack.callback(server.shutdown)
            threading.Thread(target=server.serve_forever, daemon=True).start()
        ports = [int(server.server_address[1]) for server in servers]
        port, health = free_port(), free_port()

        def configured(backend: int) -> Path:
            scratch = tmp_path / str(backend)
            scratch.mkdir()
            servers = {"one": {"host": "127.0.0.1", "port": backend}}
            listen = {"binds": [{"address": "127.0.0.1", "port": port}], "servers": servers}
            proxy = {"enabled": True, "health_port": health, "listen": {"api": listen}}
            pillar = {"_reclass_": {"name": {"full": "host"}}, "haproxy": {"proxy": proxy}}
            text = compiled_states("host", pillar, ["haproxy"], scratch)[1]
            return proxy_config(text["/etc/haproxy/haproxy.cfg"], tmp_path, tmp_path)

        def connected(backend: int) -> socket.socket | None:
            """A connection that has reached this server."""
            with suppress(OSError):
                connection = socket.create_connection(("127.0.0.1", port), timeout=60)
                if connection.recv(100) == str(backend).encode():
                    return connection
                connection.close()
            return None

        running = subprocess.Popen([haproxy, "-W", "-db", "-f", configured(ports[0])], env=environment)
        stack.callback(running.wait)
        stack.callback(running.terminate)
        found: list[socket.socket] = []
        for backend in ports:
            if found:
                configured(backend)
                running.send_signal(signal.SIGUSR2)
            assert until(
                lambda backend=backend: (got := connected(backend)) is not None and not found.append(got),
                f"the server at port {backend}", patience=60,
            )  # fmt: skip
        before, after = (stack.enter_context(each) for each in found)
        assert before.recv(1) == b"", "it was told to make another connection"
        after.settimeout(0)
        with pytest.raises(BlockingIOError):
            after.recv(1)


@pytest.mark.compiled
def test_requests_go_on_when_an_api_server_ends(tmp_path: Path) -> None:
    """Real API servers that know nobody who is anonymous, behind the proxy that the model has for them."""
    haproxy, environment = program("haproxy")
    asked = {"ca": "kubernetes", "common_name": "haproxy@kmst01", "usage": ["client"]}
    pillar = {"_reclass_": {"name": {"full": "host"}}, "pki": {"certificate": {"kubernetes-haproxy": asked}}}
    issued = pki.issue(pillar, tmp_path / "pki")["pki"]["certificate"]
    put_certificates(tmp_path / "certificates", issued)
    authority = tmp_path / "certificates/kubernetes-haproxy-ca.crt"
    plane_root, kubeconfig = tmp_path / "plane", tmp_path / "kubeconfig"
    plane_root.mkdir()
    flags = (f"--client-ca-file={tmp_path}/ca.crt", "--anonymous-auth=false")
    shutil.copy(authority, tmp_path / "ca.crt")
    with ExitStack() as stack:
        plane = stack.enter_context(control_plane(plane_root, *flags))
        second = stack.enter_context(plane.another())
        # The servers of this plane sign for themselves.
        shutil.copy(plane_root / "certs/apiserver.crt", authority)
        found = [yaml.safe_load(file.read_text()) for file in (plane.kubeconfig, second)]
        ports = [int(each["clusters"][0]["cluster"]["server"].rpartition(":")[2]) for each in found]
        port = free_port()
        listen = {
            "binds": [{"address": "127.0.0.1", "port": port}],
            "servers": {f"m{number}": {"host": "127.0.0.1", "port": each} for number, each in enumerate(ports)},
            "check": {"path": "/readyz", "certificate": "kubernetes-haproxy"},
        }
        proxy = {"enabled": True, "health_port": free_port(), "listen": {"api": listen}}
        files = compiled_states("host", {**pillar, "haproxy": {"proxy": proxy}}, ["haproxy"], tmp_path)[1]
        file = proxy_config(files["/etc/haproxy/haproxy.cfg"], tmp_path, tmp_path / "certificates")
        # An API server answers before it is ready, and the proxy believes that each is until it has asked it twice.
        own = f"{tmp_path}/certificates/kubernetes-haproxy.crt"

        def ready(at: int) -> bool:
            url = f"https://127.0.0.1:{at}/readyz"
            return requests.get(url, cert=(own, f"{own}.key"), verify=False, timeout=5).status_code == 200

        for each in ports:
            assert until(partial(ready, each), "the API server to be ready", patience=60)
        log = stack.enter_context((tmp_path / "log").open("w"))
        running = subprocess.Popen([haproxy, "-db", "-f", file], env=environment, stdout=log, stderr=log)
        stack.callback(running.wait)
        stack.callback(running.terminate)
        kubeconfig.write_text(plane.kubeconfig.read_text().replace(str(ports[0]), str(port)))
        kubeconfig.chmod(0o600)
        with Cluster(kubeconfig) as cluster:
            cluster.version()

        token = found[0]["users"][0]["user"]["token"]
        request = urllib.request.Request(f"https://127.0.0.1:{port}/api/v1/namespaces")
        request.add_header("Authorization", f"Bearer {token}")
        context = ssl.create_default_context(cafile=authority)
        ended, sent, failed = threading.Event(), [], []

        def ask() -> None:
            while not ended.is_set():
                sent.append(None)
                try:
                    with urllib.request.urlopen(request, context=context, timeout=10) as answer:
                        answer.read()
                except OSError as error:
                    failed.append(error)

        def down() -> int:
            return (tmp_path / "log").read_text().count("is DOWN")

        with ThreadPoolExecutor(1) as pool:
            asking = pool.submit(ask)
            before = down()
            plane.stop("kube-apiserver")
            noticed = until(lambda: down() > before, "the proxy to notice", patience=60)
            after = len(sent)
            more = until(lambda: len(sent) > after + 10, "more requests", patience=60)
            ended.set()
            asking.result()
        # Of requests one after the other, the one under way when the server ended may be cut: clients try again.
        assert noticed and more and len(failed) <= 1, failed


# Two hosts on one network; each has a program that answers what keepalived asks.
NETWORK = """
set -eu
mount -t tmpfs none /run
ip link add hosts type bridge
ip link set hosts up
for name in m1 m2; do
    ip netns add $name
    ip link add $name type veth peer name eth0 netns $name
    ip link set $name master hosts up
    ip -n $name link set lo up
    ip -n $name link set eth0 up
done
ip -n m1 address add 192.0.2.1/24 dev eth0
ip -n m2 address add 192.0.2.2/24 dev eth0
well() {{
    ip netns exec $1 {python} -m http.server --bind 127.0.0.1 8405 > /dev/null 2>&1 &
    echo $! > {scratch}/$1.well
}}
for name in m1 m2; do
    well $name
    ip netns exec $name {keepalived} --vrrp --dont-fork --log-console --use-file {scratch}/$name.conf \
        --pid {scratch}/$name.pid --vrrp_pid {scratch}/$name.vrrp > {scratch}/$name.log 2>&1 &
done
has() {{ ip -n $1 address show dev eth0 | grep -q 192.0.2.100; }}
moved() {{ until has $1 && ! has $2; do sleep 0.2; done; echo "$3"; }}
until has m1 || has m2; do sleep 0.2; done
# Both may have begun with it.
until ! {{ has m1 && has m2; }}; do sleep 0.2; done
if has m1; then one=m1 two=m2; else one=m2 two=m1; fi
echo one
kill $(cat {scratch}/$one.well)
moved $two $one "the other, where the check fails"
well $one
# It works again, and leaves the address where it is.
until [ $(grep -c 'BACKUP STATE' {scratch}/$one.log) = 2 ]; do sleep 0.2; done
has $two && ! has $one
ip link set $two down
until has $one; do sleep 0.2; done
echo "the one that came back, where the other is gone"
"""


@as_root
def test_the_address_is_on_one_host_and_moves(tmp_path: Path) -> None:
    keepalived, environment = program("keepalived")
    if not shutil.which("curl", path="/usr/bin"):
        pytest.skip("needs curl")
    members = {"m1": "192.0.2.1", "m2": "192.0.2.2"}
    instance = {"address": "192.0.2.100", "virtual_router_id": 7, "members": members, "interface": "eth0"}
    for name in members:
        (tmp_path / name).mkdir()
        cluster = {"enabled": True, "name": name, "instance": {"x": {**instance, "check": "http://127.0.0.1:8405/"}}}
        assert complaints({"keepalived": {"cluster": cluster}}) == []
        parameters = {"_reclass_": {"name": {"full": name}}, "keepalived": {"cluster": cluster}}
        _, files = compiled_states(name, parameters, ["keepalived"], tmp_path / name)
        (tmp_path / f"{name}.conf").write_text(files["/etc/keepalived/keepalived.conf"])
    script = NETWORK.format(scratch=tmp_path, keepalived=keepalived, python=sys.executable)
    # What is left running ends with its namespace.
    command = ["unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "bash", "-c", script]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=180)
    assert done.returncode == 0, done.stderr + "".join(file.read_text() for file in tmp_path.glob("m?.log"))
    assert done.stdout.splitlines() == [
        "one",
        "the other, where the check fails",
        "the one that came back, where the other is gone",
    ]
