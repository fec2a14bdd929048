"""A machine on the lab's network that is no host of it: it has an address, is root at home, and knows no secret."""

from __future__ import annotations

import json
import secrets
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from docker.models.containers import Container
from tests.story.lab import Lab

from pillarbox.lab import engine as engines
from pillarbox.lab import hosts, shell
from pillarbox.lab import settings as lab_settings
from pillarbox.model import Inventory
from pillarbox.system.execution import Completed

PYTHON = "/opt/salt/bin/python"

# What each address answers: [host, port, [[method, path], …]] in; by "port method path" the status, or the refusal.
PROBE = """
import http.client, json, ssl, socket, sys
from concurrent.futures import ThreadPoolExecutor

context = ssl._create_unverified_context()

def status(secure, host, port, method, path):
    kind = http.client.HTTPSConnection if secure else http.client.HTTPConnection
    connection = kind(host, port, timeout=5, **({"context": context} if secure else {}))
    try:
        connection.request(method, path, body=b"" if method in ("POST", "PUT") else None)
        return connection.getresponse().status
    except (OSError, http.client.HTTPException) as error:
        return f"{type(error).__name__}: {error}"
    finally:
        connection.close()

def connect(host, port):
    try:
        socket.create_connection((host, port), 3).close()
        return "connected"
    except OSError as error:
        return f"{type(error).__name__}: {error}"

targets = json.load(sys.stdin)
# What listens without a word of HTTP costs the whole timeout, at each request.
with ThreadPoolExecutor(16) as pool:
    waiting = [(host, port, asked, pool.submit(connect, host, port)) for host, port, asked in targets]
    found = {f"{host}:{port}": {"connect": answer.result()} for host, port, _, answer in waiting}
    waiting = [
        (f"{host}:{port}", f"{'https' if secure else 'http'} {method} {path}",
         pool.submit(status, secure, host, port, method, path))
        for host, port, asked, answer in waiting if answer.result() == "connected"
        for method, path in asked for secure in (False, True)
    ]
    for where, asked, answer in waiting:
        found[where][asked] = answer.result()
print(json.dumps(found))
"""

# Asks the name server argv[1], by UDP and by TCP, for the address of the API server's Service. Prints, as JSON, how
# many records came, or what the kernel answered.
DNS = """
import json, socket, struct, sys

labels = "kubernetes.default.svc.cluster.local".encode().split(b".")
name = b"".join(bytes([len(label)]) + label for label in labels) + bytes(1)
question = struct.pack("!6H", 7, 0x100, 1, 0, 0, 0) + name + struct.pack("!2H", 1, 1)

def udp():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asker:
        asker.settimeout(3)
        asker.sendto(question, (sys.argv[1], 53))
        return asker.recv(1024)

def tcp():
    with socket.create_connection((sys.argv[1], 53), 3) as asker, asker.makefile("rb") as answer:
        asker.sendall(struct.pack("!H", len(question)) + question)
        return answer.read(struct.unpack("!H", answer.read(2))[0])

found = {}
for ask in (udp, tcp):
    try:
        found[ask.__name__] = struct.unpack("!6H", ask()[:12])[3]
    except OSError as error:
        found[ask.__name__] = type(error).__name__
print(json.dumps(found))
"""


class Background:
    """A command that runs in a container, and what it has printed so far."""

    def __init__(self) -> None:
        self._lines: list[str] = []
        self._seen = 0
        self._more = threading.Condition()

    def take(self, line: str) -> None:
        with self._more:
            self._lines.append(line)
            self._more.notify()

    def until(self, text: str) -> str:
        """All lines since the last such call, up to the first that has ``text``."""
        start = self._seen
        with self._more:
            while not any(text in line for line in self._lines[self._seen :]):
                assert self._more.wait(240), f"no {text!r}: {self._lines}"
            self._seen += next(n for n, line in enumerate(self._lines[self._seen :], 1) if text in line)
            return "\n".join(self._lines[start : self._seen])


@contextmanager
def background(container: Container, *command: str) -> Iterator[Background]:
    """Run a command in a container while the block does."""
    found, note = Background(), f"/tmp/{secrets.token_hex(8)}"
    wrapped = ["sh", "-c", 'echo $$ > "$0"; exec "$@"', note, *command]
    thread = threading.Thread(
        target=shell.run,
        args=(container, wrapped),
        kwargs={"on_out": found.take, "on_err": found.take, "check": False},
        daemon=True,
    )
    thread.start()
    try:
        yield found
    finally:
        shell.run(container, ["sh", "-c", 'kill "$(cat "$0")"', note], check=False)
        thread.join(60)


def name_server(lab: Lab) -> str:
    """The address at which each node of the lab answers its own pods' questions for names."""
    address: str = Inventory(lab.model).node("ctl01").parameters["kubernetes"]["pool"]["cluster_dns"]
    return address


def container_of(lab: Lab, host: str) -> Container:
    settings = lab_settings.load(lab.name)
    engine = engines.find(settings)
    assert engine is not None
    return hosts.running(settings, engine, host)


@dataclass(frozen=True)
class Neighbour:
    """The machine, and its address."""

    container: Container
    address: str

    def run(self, *command: str, check: bool = True) -> Completed:
        done = shell.run(self.container, command, check=check)
        print(f"neighbour$ {' '.join(command)[:200]}\n{done.out}{done.err}")
        return done

    def python(self, script: str, *arguments: str, check: bool = True) -> Completed:
        return self.run(PYTHON, "-c", script, *arguments, check=check)

    def probe(self, targets: Sequence[tuple[str, int, Sequence[tuple[str, str]]]]) -> dict[str, dict[str, Any]]:
        """What the targets (address, port, requests) answer, by ``address:port``."""
        script = f"import io, sys; sys.stdin = io.StringIO({json.dumps(json.dumps(targets))})\n{PROBE}"
        found: dict[str, dict[str, Any]] = json.loads(self.python(script).out)
        return found


@contextmanager
def neighbour(lab: Lab) -> Iterator[Neighbour]:
    """A container on the lab's network, from the image that hosts start from: it has their programs and no key."""
    engine = engines.find(lab_settings.load(lab.name))
    assert engine is not None
    image = container_of(lab, "cfg01").attrs["Image"]
    container = engine.client.containers.run(
        image,
        ["sleep", "infinity"],
        detach=True,
        network=lab.name,
        hostname="neighbour",
        cap_add=["NET_ADMIN"],
        sysctls={"net.ipv4.conf.all.route_localnet": "1"},
        remove=True,
    )
    try:
        container.reload()
        yield Neighbour(container, container.attrs["NetworkSettings"]["Networks"][lab.name]["IPAddress"])
    finally:
        container.remove(force=True)


def listening(lab: Lab, host: str) -> set[tuple[str, str, int]]:
    """The sockets on which a host listens: protocol, address, port."""
    found = set()
    for line in lab.on(host, "ss", "-lntuH").stdout.splitlines():
        protocol, _, _, _, local, *_ = line.split()
        address, _, port = local.rpartition(":")
        found.add((protocol, address.strip("[]").partition("%")[0], int(port)))
    return found
