"""The network engine `bgp` with Debian's BIRD: hosts in two racks, two routers, Salt's own highstates.

The hosts are those of docs/how-to/network.md, the routers have the configuration of that page.

model      engines differ in what they should, and what is missing is named
racks      pods reach each other by both routers; a router dies; BIRD is started again; what a host announces and takes
engines    plain routes go once those of the routers are there, and the other way round
"""

from __future__ import annotations

import copy
import itertools
import re
import shutil
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from tests import knobs, programs
from tests.docs.pages import DOCS, File, Reader, environment, steps
from tests.formulas.test_hosts import ROOT, as_root, compiled_states, complaints
from tests.machines import Machine, machines

from pillarbox.model import Inventory
from pillarbox.pipeline.updates import HostUpdate
from pillarbox.system.waiting import until

PAGE = DOCS / "how-to" / "network.md"
PASSWORD = "between tor1 and hosts"
#: Where hosts and routers are, by rack.
RACKS = {"a": ("172.30.20", ("ctl01", "ctl02")), "b": ("172.30.21", ("ctl03",))}
HOSTS = ("ctl01", "ctl02", "ctl03")
STATES = ("bird", "linux.network")
#: What routers announce besides: a network that nobody asked for, a part of ctl01's own, and a default route.
FOREIGN = ("10.99.0.0/16", "10.244.1.128/25", "0.0.0.0/0")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The reference model with racks, as the page has it."""
    home = tmp_path_factory.mktemp("home")
    root = knobs.copy(tmp_path_factory.mktemp("model"), "classes", "nodes", "formulas", "images", "manifests")
    commands = environment(home, ROOT)
    reader = Reader(root, commands)
    for step in steps(PAGE):
        if isinstance(step, File) or step.text.startswith("sed "):
            reader.do(step)
    return root


def pillar(inventory: Inventory, host: str) -> dict[str, Any]:
    """What the states that are applied here need of a host's pillar."""
    parameters = copy.deepcopy(dict(inventory.node(host).parameters))
    given = {"bird": parameters["bird"], "linux": {"network": parameters["linux"]["network"]}}
    if given["bird"]["server"]["enabled"]:
        given["bird"]["server"]["router"]["tor1"]["password"] = PASSWORD
        # This machine may be too busy for the packets of one second. Without BFD it takes minutes to miss a router.
        given["bird"]["server"]["bfd"] |= {"interval": 1000, "multiplier": 5}
        given["bird"]["server"]["hold_time"] = 240
    return given


def test_hosts_of_the_racks_satisfy_the_schemas(model: Path) -> None:
    inventory = Inventory(model)
    for host in (*HOSTS, "cfg01", "kmst01"):
        parameters = dict(inventory.node(host).parameters)
        assert complaints(parameters) == []
        assert "peer_route" not in parameters["linux"]["network"]
        server = parameters["bird"]["server"]
        assert set(server.get("announce", {})) == ({"pods"} if host in HOSTS else set())
    assert complaints({"bird": {"server": {"enabled": True, "address": "192.0.2.1", "as": 1}}}) == [
        "bird:server: $: 'router' is a required property"
    ]


@pytest.mark.parametrize("host", ["ctl03", "cfg01"])
def test_the_highstate_compiles(model: Path, tmp_path: Path, host: str) -> None:
    node = Inventory(model).node(host)
    parameters = copy.deepcopy(dict(node.parameters))
    parameters["bird"]["server"]["router"]["tor1"]["password"] = PASSWORD
    low, files = compiled_states(host, parameters, list(node.applications), tmp_path)
    assert low and all(isinstance(chunk, dict) for chunk in low), low
    assert PASSWORD in files["/etc/bird/bird.conf"] and PASSWORD not in str(low)
    config = next(chunk for chunk in low if chunk["__id__"] == "bird_server_config")
    assert config["mode"] == "0640" and config["show_changes"] is False
    assert ("/etc/cni/net.d/10-bridge.conflist" in files) is (host in HOSTS)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (lambda pillar: pillar["bird"]["server"]["router"]["tor1"].update({"as": 65123}), "tor1:as is 65123"),
        (lambda pillar: pillar["bird"]["server"]["router"]["tor1"].update(password='a"b'), "tor1:password: expected"),
        (
            lambda pillar: pillar["bird"]["server"].update(enabled=False),
            "has to be enabled, and to announce 10.244.3.0",
        ),
        (lambda pillar: pillar["bird"]["server"]["announce"].clear(), "has to be enabled, and to announce 10.244.3.0"),
    ],
)
def test_what_cannot_be_is_refused(
    model: Path, tmp_path: Path, change: Callable[[dict[str, Any]], object], complaint: str
) -> None:
    node = Inventory(model).node("ctl03")
    parameters = copy.deepcopy(dict(node.parameters))
    change(parameters)
    low, _ = compiled_states("ctl03", parameters, list(node.applications), tmp_path)
    assert complaint in str(low)


ECHO = """
import socket
there = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
there.bind(("", 7))
while True:
    there.sendto(*there.recvfrom(100))
"""
# A packet that is lost has a long time to come back before it counts as that.
ASK = """
import socket, sys, time
here = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
here.connect((sys.argv[1], 7))
here.settimeout(5)
answered = lost = 0
while True:
    text = str(answered + lost).encode()
    try:
        here.send(text)
        while here.recv(100) != text:
            pass
        answered += 1
    except OSError:
        lost += 1
    print(answered, lost, flush=True)
    time.sleep(0.01)
"""


_NUMBER = itertools.count()


@dataclass(frozen=True)
class Traffic:
    """Packets from one pod to another, each answered or lost."""

    machine: Machine
    unit: str

    @classmethod
    def between(cls, machine: Machine, number: int) -> Traffic:
        """From the pod of a machine to that of the host with this number."""
        unit = f"traffic{next(_NUMBER)}"
        machine.start(unit, f"exec nsenter --net=/run/netns/pod {sys.executable} -c '{ASK}' 10.244.{number}.10")
        found = cls(machine, unit)
        assert found.goes_on()
        return found

    def counts(self) -> tuple[int, int]:
        """How many packets were answered and lost until now."""
        answered, lost = (int(word) for word in self.machine.run(f"tail -n 1 /run/{self.unit}").split() or (0, 0))
        return answered, lost

    def goes_on(self) -> bool:
        """Whether packets that are sent from now on are answered."""
        before = self.counts()[0]
        return until(lambda: self.counts()[0] > before + 20, f"{self.machine.name}: answers", patience=60)

    def lost(self) -> int:
        """How many were lost until now; it ends here."""
        assert self.goes_on()
        self.machine.run(f"systemctl stop {self.unit}")
        return self.counts()[1]


def routes(machine: Machine, which: str = "proto bird") -> dict[str, list[str]]:
    """The gateways of each destination that a machine has routes to."""
    found: dict[str, list[str]] = {}
    for line in machine.run(f"ip -4 route show {which}").splitlines():
        destination = line.split()[0]
        if not line.startswith("\t"):
            current = found.setdefault(destination, [])
        current += re.findall(r"via (\S+)", line)
    return {destination: sorted(gateways) for destination, gateways in found.items()}


class Network:
    """Hosts and routers, connected and configured."""

    def __init__(self, running: list[Machine], inventory: Inventory) -> None:
        self.machines = {machine.name: machine for machine in running}
        self.inventory = inventory

    def connect(self) -> None:
        switch = self.machines["switch"]
        for rack, (network, hosts) in RACKS.items():
            switch.run(f"ip link add rack{rack} up type bridge")
            for host in hosts:
                machine, number = self.machines[host], int(host[-1])
                switch.link(host, machine, "eth0")
                switch.run(f"ip link set {host} master rack{rack}")
                machine.run(
                    f"ip address add {network}.{number + 20}/24 dev eth0; ip route add default via {network}.2\n"
                    f"ip link add cni0 up type bridge; ip address add 10.244.{number}.1/24 dev cni0; ip netns add pod\n"
                    "ip link add pod up master cni0 type veth peer name eth0 netns pod\n"
                    f"ip -n pod address add 10.244.{number}.10/24 dev eth0; ip -n pod link set eth0 up\n"
                    f"ip -n pod route add default via 10.244.{number}.1"
                )
                machine.start("echo", f"exec nsenter --net=/run/netns/pod {sys.executable} -c '{ECHO}'")
            for number in (1, 2):
                router = self.machines[f"tor{number}"]
                switch.link(f"tor{number}{rack}", router, f"rack{rack}")
                switch.run(f"ip link set tor{number}{rack} master rack{rack}")
                router.run(f"ip address add {network}.{number + 1}/24 dev rack{rack}")

    def start_routers(self) -> None:
        """With what hosts should not take, besides."""
        page = next(step.text for step in steps(PAGE) if isinstance(step, File) and step.path == "tor1.conf")
        page += "protocol static foreign {\n    ipv4;\n"
        page += "".join(f"    route {each} unreachable;\n" for each in FOREIGN)
        page += "}\n"
        self.machines["tor1"].write(
            "/etc/bird/bird.conf", page.replace("local as 65001;", f'local as 65001;\n    password "{PASSWORD}";')
        )
        self.machines["tor2"].write(
            "/etc/bird/bird.conf", page.replace("65001", "65002").replace("id 172.30.20.2", "id 172.30.20.3")
        )
        for name in ("tor1", "tor2"):
            self.machines[name].run("systemctl start bird")

    def apply(self, *hosts: str) -> None:
        """Apply the states of hosts at the same time, as a deploy does it."""
        with ThreadPoolExecutor() as pool:
            for results in pool.map(self.results, hosts):
                assert [each for each in results.values() if each["result"] is not True] == []

    def results(
        self, host: str, states: tuple[str, ...] = STATES, *, inventory: Inventory | None = None, **changed: Any
    ) -> dict[str, dict[str, Any]]:
        """What Salt says of a host's states, with some keys of `bird:server` changed."""
        given = pillar(inventory or self.inventory, host)
        given["bird"]["server"] |= changed
        return self.machines[host].apply(states, given)


def expected(host: str) -> dict[str, list[str]]:
    """What a host has of its routers."""
    network = next(network for network, hosts in RACKS.values() if host in hosts)
    both = [f"{network}.2", f"{network}.3"]
    found = {"172.30.20.0/24": both, "172.30.21.0/24": both}
    for others, hosts in RACKS.values():
        for other in hosts:
            if other != host:
                # Those of a neighbour need no router.
                found[f"10.244.{other[-1]}.0/24"] = both if others != network else [f"{network}.{int(other[-1]) + 20}"]
    if host != "ctl01":
        found["10.244.1.128/25"] = both
    return found


@pytest.fixture(scope="module")
def layer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    layer = programs.debian_layer("bird2-packages", tmp_path_factory.mktemp("bird2"), "bird2", "systemd")
    if layer is None:
        pytest.skip("Debian's bird2 cannot be fetched here")
    return layer


@pytest.fixture(scope="module")
def racks(model: Path, layer: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Network]:
    scratch = tmp_path_factory.mktemp("racks")
    with machines(scratch, "switch", "tor1", "tor2", *HOSTS, layer=layer, shared=[ROOT]) as running:
        network = Network(running, Inventory(model))
        network.connect()
        network.start_routers()
        network.apply(*HOSTS)
        yield network


def is_settled(machine: Machine) -> bool:
    return routes(machine) == expected(machine.name) and "Graceful" not in machine.run("birdc show status")


@pytest.fixture
def settled(racks: Network) -> Network:
    """All routes are there."""
    for machine in (racks.machines[host] for host in HOSTS):
        assert until(partial(is_settled, machine), f"routes of {machine.name}", patience=60), (
            f"{machine.name}: {routes(machine)}, expected {expected(machine.name)}\n"
            + machine.run("birdc show protocols all")
        )
    return racks


@as_root
def test_pods_are_reached_by_both_routers(settled: Network) -> None:
    host = settled.machines["ctl01"]
    for number in (2, 3):
        assert Traffic.between(host, number).lost() == 0
    # The host's own packets come from the address that others know it by.
    assert "src 172.30.20.21" in host.run("ip route get 10.244.3.10")
    assert [each for each in settled.results("ctl01").values() if each["changes"]] == []


@as_root
def test_a_router_dies(settled: Network) -> None:
    one, other, switch = (settled.machines[name] for name in ("ctl01", "ctl03", "switch"))
    traffic = [Traffic.between(one, 3), Traffic.between(other, 1)]
    switch.run("ip link set tor2a down; ip link set tor2b down")
    try:
        for machine, network, pods in ((one, "172.30.20", "10.244.3.0/24"), (other, "172.30.21", "10.244.1.0/24")):
            assert until(
                lambda: "Established" not in machine.run("birdc show protocols router_tor2"),  # noqa: B023
                "BFD",
                patience=60,
            )
            assert until(
                lambda: routes(machine)[pods] == [f"{network}.2"],  # noqa: B023
                "the route by the other router alone",
                patience=60,
            )
        assert all(each.goes_on() for each in traffic)
    finally:
        switch.run("ip link set tor2a up; ip link set tor2b up")
    for machine in (one, other):
        assert until(partial(is_settled, machine), "both routers", patience=60)
    for each in traffic:
        each.lost()


def daemon(machine: Machine) -> int:
    """The process of BIRD that is ready."""
    process = int(machine.run("systemctl show --property=MainPID --value bird"))
    return process if machine.succeeds("birdc show status") else 0


@as_root
@pytest.mark.parametrize("how", ["restart", "crash", "upgrade"])
def test_a_restart_of_bird_loses_no_route(settled: Network, how: str) -> None:
    host, names, unit = settled.machines["ctl01"], ("ctl01", "ctl03", "tor1", "tor2"), f"monitor{next(_NUMBER)}"
    package = next((programs.CACHE / "bird2-packages").glob("bird2_*.deb"), None)
    if how == "upgrade" and package is None:
        pytest.skip("bird2 is installed on this machine")
    traffic = [Traffic.between(host, 3), Traffic.between(settled.machines["ctl03"], 1)]
    for name in names:
        settled.machines[name].start(unit, "exec ip -4 monitor route")
        assert until(lambda: watches(settled.machines[name], unit), "the monitor", patience=60)  # noqa: B023
    before = daemon(host)
    if package is not None:
        # The cache may be on another file system than the one that the host begins with.
        shutil.copy(package, f"/proc/{host.pid}/root/run/bird2.deb")
    host.run(
        {
            "restart": "systemctl restart bird",
            "crash": "systemctl kill --signal=KILL bird",
            "upgrade": "dpkg --install /run/bird2.deb",
        }[how]
    )
    assert until(lambda: daemon(host) not in (0, before), "BIRD to start again", patience=60)
    # It has all routes of all routers again, and has told them its own; they no longer wait for it.
    assert until(partial(is_settled, host), "routes", patience=60)
    for name in ("tor1", "tor2"):
        assert until(
            lambda: "Established" in settled.machines[name].run("birdc show protocols ctl01"),  # noqa: B023
            "the session",
            patience=60,
        )
    assert [each.lost() for each in traffic] == [0, 0]
    for name in names:
        # It has written down what happened before this.
        assert until(lambda: watches(settled.machines[name], unit), "the monitor", patience=60)  # noqa: B023
        seen = settled.machines[name].run(f"systemctl stop {unit}; cat /run/{unit}")
        assert [line for line in seen.splitlines() if "192.0.2." not in line] == [], name


def watches(machine: Machine, unit: str) -> bool:
    """Whether a monitor sees a route that comes and goes."""
    network = f"192.0.2.{next(_NUMBER) % 256}"
    machine.run(f"ip route add {network} dev lo; ip route delete {network} dev lo")
    return until(lambda: machine.succeeds(f"grep -q {network} /run/{unit}"), network, patience=1)


@as_root
def test_a_host_announces_and_takes_what_it_may(settled: Network) -> None:
    host = settled.machines["ctl01"]

    def announced() -> set[str]:
        return set(re.findall(r"^([0-9./]+) ", host.run("birdc show route export router_tor1"), re.MULTILINE))

    assert announced() == {"10.244.1.0/24"}
    # All three of the routers' were refused: a part of the host's own, what nobody asked for, and the default route.
    assert re.search(r"Import updates: +\d+ +\d+ +[3-9]", host.run("birdc show protocols all router_tor1"))

    before, since = daemon(host), host.run("birdc show protocols router_tor1")
    more = {"announce": {"pods": "10.244.1.0/24", "services": "10.96.0.0/16", "self": "192.0.2.21/32"}}
    try:
        results = settled.results("ctl01", **more, default_route=True)
        assert [each for each in results.values() if each["result"] is not True] == []
        assert announced() == {"10.244.1.0/24", "10.96.0.0/16", "192.0.2.21/32"}
        assert until(lambda: "default" in routes(host), "the default route", patience=60)
        # Somebody adds a network by hand: it stays on the host.
        host.run("echo 'protocol static { ipv4; route 10.244.9.0/24 unreachable; }' >> /etc/bird/bird.conf")
        host.run("birdc configure")
        assert "10.244.9.0/24" in host.run("birdc show route")
        assert announced() == {"10.244.1.0/24", "10.96.0.0/16", "192.0.2.21/32"}
        # What BIRD would not take is not written.
        written = host.run("cat /etc/bird/bird.conf")
        results = settled.results("ctl01", announce={"pods": "10.244.1.0/33"})
        assert next(each for each in results.values() if each["__id__"] == "bird_server_config")["result"] is False
        assert host.run("cat /etc/bird/bird.conf") == written
    finally:
        settled.apply("ctl01")
    # None of that was a restart, and sessions went on.
    assert daemon(host) == before and host.run("birdc show protocols router_tor1") == since
    assert announced() == {"10.244.1.0/24"}


@as_root
def test_a_router_with_another_password_is_none(settled: Network) -> None:
    host = settled.machines["ctl02"]
    routers = pillar(settled.inventory, "ctl02")["bird"]["server"]["router"]
    routers["tor1"]["password"] = "another"
    try:
        settled.results("ctl02", router=routers)
        assert until(lambda: routes(host)["10.244.3.0/24"] == ["172.30.20.3"], "the other alone", patience=60)
        assert not host.succeeds("birdc show protocols router_tor1 | grep Established")
    finally:
        settled.apply("ctl02")


@as_root
def test_the_engine_changes_without_a_moment_without_a_route(settled: Network, model: Path, tmp_path: Path) -> None:
    # Plain routes need hosts on one network.
    inventories = {}
    for engine in ("bridge", "bgp"):
        shutil.copytree(model, tmp_path / engine)
        (tmp_path / engine / "nodes/hosts/ctl03.yml").unlink()
        knobs.turn(tmp_path / engine, "kubernetes_network: bgp", f"kubernetes_network: {engine}")
        inventories[engine] = Inventory(tmp_path / engine)
    one, two = (settled.machines[name] for name in ("ctl01", "ctl02"))
    traffic = [Traffic.between(one, 2), Traffic.between(two, 1)]
    plain = {"ctl01": {"10.244.2.0/24": ["172.30.20.22"]}, "ctl02": {"10.244.1.0/24": ["172.30.20.21"]}}

    def deploy(engine: str) -> None:
        """What its groups are, each after the other."""
        for host in ("ctl01", "ctl02"):
            update = HostUpdate.of(inventories[engine].node(host))
            assert update.prepared(["linux.network.host.new"]) == ()
            results = settled.results(host, update.prepared(["bird.server.enabled"]), inventory=inventories[engine])
            assert [each for each in results.values() if each["result"] is not True] == []
        with ThreadPoolExecutor() as pool:
            for results in pool.map(partial(settled.results, inventory=inventories[engine]), ("ctl01", "ctl02")):
                assert [each for each in results.values() if each["result"] is not True] == []

    def gateways(machine: Machine) -> dict[str, list[str]]:
        return {network: by for network, by in routes(machine, "proto 251").items() if by}

    deploy("bridge")
    for host in (one, two):
        assert gateways(host) == plain[host.name]
        assert routes(host) == {}
        assert not host.succeeds("systemctl is-active bird || systemctl is-enabled bird || test -e /etc/bird/bird.conf")
    # A host alone finds no routes of the routers' to take the place of its plain ones, once they have forgotten it all.
    for name in ("tor1", "tor2"):
        settled.machines[name].run("birdc restart ctl01; birdc restart ctl02")
    results = settled.results("ctl01", inventory=inventories["bgp"], timeout=2)
    failed = next(each for each in results.values() if each["__id__"] == "bird_settled")
    assert failed["result"] is False
    assert "a route of the routers' to 10.244.2.0/24" in failed["changes"]["stderr"]
    assert gateways(one) == plain["ctl01"]
    deploy("bgp")
    for host in (one, two):
        assert gateways(host) == {}
        assert until(partial(is_settled, host), f"routes of {host.name}", patience=60)
    assert [each.lost() for each in traffic] == [0, 0]


@as_root
def test_a_host_with_two_cables_takes_its_routes_back_when_it_goes_down(layer: Path, tmp_path: Path) -> None:
    with machines(tmp_path, "host", "left", "right", layer=layer, shared=[ROOT]) as (host, left, right):
        host.run("ip address add 192.0.2.21/32 dev lo")
        routers = {"left": (left, 2, "172.30.20"), "right": (right, 3, "172.30.22")}
        for name, (router, number, network) in routers.items():
            host.link(name, router, "eth0")
            host.run(f"ip address add {network}.1/24 dev {name}")
            router.run(f"ip address add {network}.2/24 dev eth0")
            router.write(
                "/etc/bird/bird.conf",
                f"router id {network}.2; protocol device {{ }}\n"
                "protocol kernel { ipv4 { export where source = RTS_BGP; }; }\n"
                "protocol static { ipv4; route 10.244.0.0/16 unreachable; }\n"
                f"protocol bgp {{ local as {number}; neighbor {network}.1 as 1; graceful restart on;\n"
                "    ipv4 { import all; export all; }; }\n",
            )
            router.run("systemctl start bird")
        server = {
            "enabled": True,
            "address": "192.0.2.21",
            "as": 1,
            "announce": {"services": "10.96.0.0/16", "host": "192.0.2.21/32"},
            "accept": {"pods": "10.244.0.0/16"},
            "router": {
                f"{name}.of-1": {"address": f"{network}.2", "as": number}
                for name, (_, number, network) in routers.items()
            },
        }
        assert complaints({"bird": {"server": server}}) == []
        results = host.apply(["bird"], {"bird": {"server": server}})
        assert [each for each in results.values() if each["result"] is not True] == []
        pods = {"10.244.0.0/16": ["172.30.20.2", "172.30.22.2"]}
        assert until(lambda: routes(host) == pods, "both routers", patience=60)
        assert "src 192.0.2.21" in host.run("ip route get 10.244.3.10")
        for router, _, network in routers.values():
            announced = {"10.96.0.0/16": [f"{network}.1"], "192.0.2.21": [f"{network}.1"]}
            assert until(lambda: routes(router) == announced, "the routes", patience=60)  # noqa: B023
        host.run("systemctl poweroff", check=False)
        # A host whose daemon alone ended has two minutes.
        for router in (left, right):
            assert until(lambda: routes(router) == {}, "the routes to go", patience=60)  # noqa: B023
