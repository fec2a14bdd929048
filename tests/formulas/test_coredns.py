"""The name server of a node: what its files say, what is compiled for them, and whose packets reach it.

files    a Corefile with servers to ask and without; the plugins that it names are those that are compiled
rights   what it shows to the API server is readable by its own user alone
packets  pods of the node and the node itself are answered; other nodes, their pods and strangers are not
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from tests.formulas.test_hosts import ROOT, as_root, compiled, compiled_states, schema

from pillarbox.model import Inventory

ADDRESS = "169.254.20.10"
PROGRAM = {"source": {"program": {"coredns": {"version": "1.15.0"}}}}
REQUEST = {"ca": "kubernetes", "common_name": "system:coredns", "usage": ["client"]}


def states(scratch: Path, **server: Any) -> tuple[list[dict[str, Any]], dict[str, str]]:
    """Salt's low state and the files of a host with this name server."""
    scratch.mkdir(exist_ok=True)
    parameters = {
        "_reclass_": {"name": {"full": "host"}},
        "coredns": {"server": {"enabled": True, "master": {"host": "192.0.2.1"}, **server}},
        "pki": {"certificate": {"kubernetes-coredns": REQUEST}},
        "program": PROGRAM,
    }
    low, files = compiled_states("host", parameters, ["coredns"], scratch)
    assert all(isinstance(chunk, dict) for chunk in low), low
    return low, files


def plugins(corefile: str) -> set[str]:
    """The directives of a Corefile's one server block."""
    return set(re.findall(r"^ {4}(\w+)", corefile, re.MULTILINE))


def test_without_servers_to_ask_no_other_name_exists(tmp_path: Path) -> None:
    _, files = states(tmp_path)
    corefile = files["/etc/coredns/Corefile"]
    assert f"\n    bind {ADDRESS}\n" in corefile
    assert "forward" not in corefile and "fallthrough" not in corefile
    assert "\n    file /etc/coredns/nothing.zone .\n" in corefile
    records = [line for line in files["/etc/coredns/nothing.zone"].splitlines() if not line.startswith(";")]
    assert [record.split()[3] for record in records] == ["SOA"]


def test_other_names_are_asked_of_other_servers(tmp_path: Path) -> None:
    _, files = states(tmp_path, forward=["192.0.2.53", "192.0.2.54:5353"])
    corefile = files["/etc/coredns/Corefile"]
    assert "\n    forward . 192.0.2.53 192.0.2.54:5353\n" in corefile
    assert "\n        fallthrough in-addr.arpa\n" in corefile
    assert "/etc/coredns/nothing.zone" not in files


def test_what_the_corefiles_name_is_compiled_and_nothing_else(tmp_path: Path) -> None:
    named = set[str]()
    for name, server in (("alone", {}), ("asking", {"forward": ["192.0.2.53"]})):
        named |= plugins(states(tmp_path / name, **server)[1]["/etc/coredns/Corefile"])
    versions = [*(ROOT / "formulas" / "program" / "files" / "coredns").glob("*/main.go")]
    assert versions
    for main in versions:
        assert set(re.findall(r"coredns/plugin/(\w+)", main.read_text())) == named


def test_its_user_alone_reads_what_it_shows(tmp_path: Path) -> None:
    low, files = states(tmp_path)
    kubeconfig = yaml.safe_load(files["/etc/coredns/kubeconfig"])
    assert kubeconfig["clusters"][0]["cluster"]["server"] == "https://192.0.2.1:6443"
    named = [kubeconfig["clusters"][0]["cluster"]["certificate-authority"], *kubeconfig["users"][0]["user"].values()]
    managed = {chunk["name"]: chunk for chunk in low if chunk["state"] == "file"}
    for name in ("/etc/coredns/kubeconfig", *named):
        assert (managed[name]["user"], managed[name]["mode"]) == ("coredns", "0600"), name
    unit = files["/etc/systemd/system/coredns.service"].splitlines()
    assert {"User=coredns", "Restart=always", "StartLimitIntervalSec=0"} <= set(unit)
    assert f"ExecStartPre=+/usr/bin/ip address replace {ADDRESS}/32 dev lo" in unit


@pytest.mark.parametrize(
    "wrong", [{"bind": {"address": "0.0.0.0"}}, {"bind": ADDRESS}, {"forward": ["dns.example.com"]}, {"zone": {}}]
)
def test_schema_refuses(wrong: dict[str, Any]) -> None:
    validator = jsonschema.Draft202012Validator(schema("coredns", "server"))
    right = {"enabled": True, "master": {"host": "192.0.2.1"}, "bind": {"address": ADDRESS}, "forward": ["192.0.2.53"]}
    assert validator.is_valid(right)
    assert not validator.is_valid(right | wrong)


def test_every_node_has_one_and_its_pods_ask_it() -> None:
    inventory = Inventory(ROOT)
    nodes = [inventory.node(name) for name in inventory.nodes]
    pools = [node for node in nodes if "pool" in node.parameters.get("kubernetes", {})]
    assert pools
    for node in pools:
        address = node.parameters["coredns"]["server"]["bind"]["address"]
        assert address == node.parameters["kubernetes"]["pool"]["cluster_dns"] == ADDRESS
        assert "coredns" in node.applications


# A node with a pod, and next to it who has a route to the node's name server, at addresses of its choice.
NETWORK = """
set -eu
mount -t tmpfs none /run
mkdir -p /etc/kubernetes 2>/dev/null || true
mount -t tmpfs none /etc/kubernetes
cp {rules} /etc/kubernetes/pod-firewall.rules
ip link set lo up
ip address add {address}/32 dev lo
for name in pod near; do
    ip netns add $name
    ip link add $name type veth peer name eth0 netns $name
    ip link set $name up
    ip -n $name link set eth0 up
done
ip link add cni0 type bridge
ip link set pod master cni0
ip address add 10.244.1.1/24 dev cni0
ip link set cni0 up
ip -n pod address add 10.244.1.5/24 dev eth0
ip -n pod route add default via 10.244.1.1
ip address add 172.30.20.21/24 dev near
for own in 172.30.20.99/24 172.30.20.22/24 10.244.2.5/32 10.244.1.9/32; do ip -n near address add $own dev eth0; done
ip -n near route add {address} via 172.30.20.21
ip route add 10.244.2.5 via 172.30.20.99
"$0" {answer} & answering=$!
until ss -Hlnu src {address} | grep -q .; do sleep 0.05; done
sh {firewall} apply
sh {firewall} check
ask() {{ echo "$1 $2: $(${{3:-}} "$0" {ask} "$2")"; }}
ask node 172.30.20.21
ask node {address}
ask pod 10.244.1.5 "ip netns exec pod"
for own in 172.30.20.99 172.30.20.22 10.244.2.5 10.244.1.9; do ask near $own "ip netns exec near"; done
iptables -t raw -F CLUSTER-ONLY
ask open 172.30.20.99 "ip netns exec near"
kill $answering
"""
ANSWER = f"""
import socket
server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
server.bind(({ADDRESS!r}, 53))
while True:
    data, asker = server.recvfrom(512)
    server.sendto(data, asker)
"""
ASK = f"""
import socket, sys
client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
client.bind((sys.argv[1], 0))
client.settimeout(1)
try:
    client.sendto(b"?", ({ADDRESS!r}, 53))
    client.recv(512)
    print("answered")
except TimeoutError:
    print("nothing")
"""


@as_root
def test_a_nodes_own_pods_are_answered_and_nobody_else(tmp_path: Path) -> None:
    if not shutil.which("iptables"):
        pytest.skip("needs iptables")
    _, texts = compiled("ctl01", Inventory(ROOT), tmp_path)
    written = {"answer": ANSWER, "ask": ASK, "rules": texts["/etc/kubernetes/pod-firewall.rules"]}
    for name, text in written.items():
        (tmp_path / name).write_text(text)
    script = NETWORK.format(
        address=ADDRESS,
        firewall=ROOT / "formulas" / "kubernetes" / "files" / "pod-firewall",
        **{name: tmp_path / name for name in written},
    )
    existed = Path("/etc/kubernetes").exists()
    command = ["unshare", "--net", "--mount", "--propagation", "private", "bash", "-c", script, sys.executable]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    finally:
        if not existed:
            Path("/etc/kubernetes").rmdir()
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "node 172.30.20.21: answered",
        f"node {ADDRESS}: answered",
        "pod 10.244.1.5: answered",
        "near 172.30.20.99: nothing",
        "near 172.30.20.22: nothing",
        "near 10.244.2.5: nothing",
        # A pod's address, but not from the bridge.
        "near 10.244.1.9: nothing",
        "open 172.30.20.99: answered",
    ]
