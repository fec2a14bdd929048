"""What somebody who may push gets to run in a build, and what it can do there: on the real engine."""

from __future__ import annotations

import io
import json
import socket
import tarfile
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import docker
import pytest

from pillarbox.images.builder import build
from pillarbox.images.store import Store
from pillarbox.system.engine import CAPABILITIES, Engine

pytestmark = pytest.mark.engine

# Tries everything that root on the machine, or on its network, could do, and writes down what came of it.
ATTACK = """
import ctypes, json, os, socket, sys, urllib.request

def tried(action):
    try:
        return str(action())
    except Exception as error:
        return "no: %%s" %% error

def connected(host, port):
    socket.create_connection((host, port), 3).close()
    return "connected"

def fetched(url):
    proxy = urllib.request.ProxyHandler({"http": "http://127.0.0.1:3128"})
    return urllib.request.build_opener(proxy).open(url, timeout=20).status

def escaped():
    os.makedirs("/tmp/jail", exist_ok=True)
    root = os.open("/", os.O_RDONLY)
    os.chroot("/tmp/jail")
    os.fchdir(root)
    for _ in range(30):
        os.chdir("..")
    os.chroot(".")
    os.close(os.open(TRAP, os.O_CREAT))
    return "escaped"

TRAP, PORTS = %(trap)r, %(ports)r
libc = ctypes.CDLL(None, use_errno=True)
found = {
    "trap": tried(lambda: os.close(os.open(TRAP, os.O_CREAT))),
    "mount": tried(lambda: "mounted" if libc.mount(b"none", b"/mnt", b"tmpfs", 0, None) == 0 else "no"),
    "device": tried(lambda: os.mknod("/tmp/disk", 0o60600, os.makedev(8, 0)) or "made"),
    "connected": {"%%s:%%s" %% each: tried(lambda: connected(*each)) for each in PORTS},
    "fetched": {"%%s:%%s" %% each: tried(lambda: fetched("http://%%s:%%s/v2/" %% each)) for each in PORTS},
    "interfaces": sorted(os.listdir("/sys/class/net")),
    "hostname": socket.gethostname(),
    "environment": sorted(os.environ),
    "status": open("/proc/self/status").read(),
    "mounts": open("/proc/self/mountinfo").read(),
}
if not os.path.exists("/usr/lib/attack-%(stage)s"):
    with open("/usr/lib/attack-%(stage)s", "w") as file:
        json.dump({**found, "chroot": tried(escaped)}, file)
"""
STATE = """
{name}_attack:
  cmd.run:
  - name: python3 /run/pillarbox/formulas/toy/{name}/attack.py
"""


@pytest.fixture
def listeners() -> Iterator[list[tuple[str, int]]]:
    """Ports of the machine, on each of its addresses, at which somebody answers."""
    with socket.socket() as server:
        server.bind(("0.0.0.0", 0))
        server.listen(64)
        threading.Thread(target=_answer, args=(server,), daemon=True).start()
        port = server.getsockname()[1]
        addresses = {"127.0.0.1", *socket.gethostbyname_ex(socket.gethostname())[2]}
        yield [(address, port) for address in sorted(addresses)]
        server.shutdown(socket.SHUT_RDWR)


def _answer(server: socket.socket) -> None:
    while True:
        try:
            connection, _ = server.accept()
        except OSError:
            return
        with connection:
            connection.sendall(b"HTTP/1.0 200 OK\r\n\r\n")


def test_a_pusher_passes_no_image_off_as_a_stage_of_another(engine: Engine, registry: str) -> None:
    """A base image from a registry of the pusher's own has the labels of a stage that somebody builds later."""
    labels, tag = {"io.pillarbox.stage": "packages", "io.pillarbox.package-key": "0" * 64}, "key-" + "0" * 32
    archive = io.BytesIO()
    tarfile.open(fileobj=archive, mode="w").close()
    image = engine.load_root(iter([archive.getvalue()]), f"{registry}/attacker", "any", labels)
    assert engine.labelled(labels, tag) is None
    # Only builds here give an image the tag of its key.
    engine.tag(image, f"{registry}/toys/packages", tag)
    assert engine.labelled(labels, tag) == image


def test_a_pusher_runs_nothing_outside_a_container_and_reaches_nothing(
    engine: Engine,
    store: Store,
    registry: str,
    make_toy: Callable[..., Any],
    listeners: list[tuple[str, int]],
) -> None:
    """`images/finish`, packages.sls and the role's states, each trying to get at the machine and its network."""
    host, _, port = registry.partition(":")
    targets = [*listeners, (host, int(port)), ("169.254.169.254", 80)]
    for address, number in listeners:
        socket.create_connection((address, number), 5).close()
    with tempfile.TemporaryDirectory(dir="/var/tmp") as folder:
        trap = Path(folder) / "trap"
        toy = make_toy(registry)
        toy.image["base"]["name"] = "attacked"

        def attack(stage: str) -> str:
            return ATTACK % {"trap": str(trap), "ports": targets, "stage": stage}

        finish = toy.path / "images" / "finish"
        finish.write_text(finish.read_text().removesuffix("main()\n") + attack("finish") + "main()\n")
        for name in ("packages", "server"):
            sls = toy.path / "formulas" / "toy" / f"{name}.sls"
            toy.write(f"formulas/toy/{name}/init.sls", sls.read_text() + STATE.format(name=name))
            toy.write(f"formulas/toy/{name}/attack.py", attack(name))
            sls.unlink()
        built = build(toy.spec(), toy.path, engine=engine, store=store, revision="abc")
        assert not trap.exists()

    client = docker.from_env()
    for stage in ("finish", "packages", "server"):
        container = client.containers.create(built.reference, ["cat", f"/usr/lib/attack-{stage}"], entrypoint=[])
        try:
            container.start()
            container.wait()
            found = json.loads(container.logs())
        finally:
            container.remove(force=True)
        for what in ("trap", "mount", "device", "chroot"):
            assert found[what].startswith("no"), (stage, what, found[what])
        assert found["interfaces"] == ["lo"] and found["hostname"] == "image"
        for how in ("connected", "fetched"):
            assert all(answer.startswith("no: ") for answer in found[how].values()), (stage, found[how])
        refused = [answer for answer in found["fetched"].values() if "403" in answer]
        assert len(refused) == (len(set(found["fetched"])) if stage == "packages" else 0), found["fetched"]
        status = dict(line.split(":\t", 1) for line in found["status"].splitlines() if ":\t" in line)
        assert status["NoNewPrivs"] == "1"
        assert bin(int(status["CapBnd"], 16)).count("1") == len(CAPABILITIES)
        own = ("/resolv.conf", "/hostname", "/hosts")
        places = [line.split()[3:5] for line in found["mounts"].splitlines()]
        kernel = ("/proc", "/sys", "/dev")
        shared = {place for source, place in places if source != "/" and not place.startswith(kernel)}
        assert shared <= {*(f"/etc{name}" for name in own), "/run/pillarbox-salt"}, places
        assert not any("PROXY" in name.upper() or "SECRET" in name.upper() for name in found["environment"])
