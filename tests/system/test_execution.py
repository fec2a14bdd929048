"""What comes out of a container."""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import socketserver
import struct
import subprocess
import tarfile
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import docker
import pytest

from pillarbox.lab.engine import LabEngine
from pillarbox.system.execution import Completed, LineSplitter, OutputLost, execute


def test_lines_come_whole_however_they_are_cut() -> None:
    said: list[str] = []
    lines = LineSplitter(said.append)
    for part in (b"a", b"b\nc", "ü".encode()[:1], "ü".encode()[1:], b"\r\n", b"end"):
        lines.feed(part)
    lines.close()
    assert said == ["ab", "cü", "end"]
    assert lines.data == "ab\ncü\r\nend".encode()


@pytest.mark.parametrize("size", [1, 2, 3, 5, 100])
@pytest.mark.parametrize("text", [b"", b"a\0\nb", b"\0", b"\0EN", b"\0EN\0E", b"a\0\0"])
def test_the_end_is_seen_however_it_is_cut(text: bytes, size: int) -> None:
    said: list[str] = []
    lines = LineSplitter(said.append, b"\0END")
    everything = text + b"\0END" + b"later\0EN"
    for start in range(0, len(everything), size):
        assert not lines.ended or start > len(text)
        lines.feed(everything[start : start + size])
    lines.close()
    assert lines.ended
    assert lines.data == text + b"later\0EN"
    assert "\n".join(said) == lines.data.decode()


def test_without_its_end_nothing_is_kept_back() -> None:
    lines = LineSplitter(None, b"\0END")
    lines.feed(b"a\0EN")
    lines.close()
    assert (lines.data, lines.ended) == (b"a\0EN", False)


class Wire(socketserver.ThreadingUnixStreamServer):
    """Says what an engine says of one command, and cuts it into pieces where it is asked to: no real engine can be
    made to. ``cut`` is after how many bytes of the answer a new piece begins, or with ``ends`` the connection ends."""

    daemon_threads = True
    cut = 0
    ends = False
    frames = ((1, b"hello\n"), (2, b"careful\n"), (1, b"world\n"))

    def answer(self, end: bytes) -> bytes:
        frames = (*self.frames, (1, b"\0" + end), (2, b"\0" + end))
        head = b"HTTP/1.1 101 UPGRADED\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n"
        return head + b"".join(struct.pack(">BxxxL", stream, len(data)) + data for stream, data in frames)


class Answers(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Wire
    asked: dict[str, Any] = {}

    def log_message(self, format: str, *arguments: object) -> None:
        """Nothing is logged."""

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.path.endswith("/containers/c/exec"):
            self._json({"Id": body["Cmd"][3]})
            return
        answer = self.server.answer(self.path.split("/")[-2].encode())
        self.wfile.write(answer[: self.server.cut])
        self.wfile.flush()
        if not self.server.ends:
            self.wfile.write(answer[self.server.cut :])
        self.close_connection = True

    def do_GET(self) -> None:
        self._json({"ExitCode": 0})

    def _json(self, data: dict[str, Any]) -> None:
        content = json.dumps(data).encode()
        self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n")
        self.wfile.write(f"Content-Length: {len(content)}\r\n\r\n".encode() + content)


@pytest.fixture
def wire(tmp_path: Path) -> Iterator[tuple[Wire, docker.APIClient]]:
    with Wire(str(tmp_path / "engine"), Answers) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        with docker.APIClient(f"unix://{tmp_path}/engine", version="1.41") as api:
            yield server, api
        server.shutdown()


HEAD = len(Wire.answer(Wire, b"")) - sum(8 + len(data) for _, data in (*Wire.frames, (1, b"\0"), (2, b"\0")))


def test_what_comes_in_one_piece_with_the_headers_is_output(wire: tuple[Wire, docker.APIClient]) -> None:
    server, api = wire
    for server.cut in (0, HEAD, HEAD + 4, HEAD + 8, HEAD + 10, HEAD + 20, HEAD + 40, 10_000):
        lines: list[str] = []
        done = execute(api, "c", ["x"], on_out=lines.append)
        assert done == Completed(0, b"hello\nworld\n", b"careful\n"), server.cut
        assert lines == ["hello", "world"]


def test_output_that_ends_too_early_is_never_taken_for_all(wire: tuple[Wire, docker.APIClient]) -> None:
    server, api = wire
    server.ends = True
    whole = len(server.answer(b"0" * 16))
    for server.cut in range(HEAD, whole, 5):
        with pytest.raises(OutputLost):
            execute(api, "c", ["x"])
    server.cut = whole
    assert execute(api, "c", ["x"]).output == b"hello\nworld\n"


SCRIPT = 'cat; i=0; while [ $i -lt "$1" ]; do echo "line $i"; echo "error $i" >&2; i=$((i+1)); done; exit 7'


@contextmanager
def busy() -> Iterator[None]:
    """Every core has more to do than it can."""
    hogs = [subprocess.Popen(["sh", "-c", "while :; do :; done"]) for _ in range(3 * (os.cpu_count() or 1))]
    try:
        yield
    finally:
        for hog in hogs:
            hog.kill()
            hog.wait()


@pytest.fixture(scope="module")
def shell_container(container_engine: LabEngine) -> Iterator[tuple[str, str]]:
    """The engine's address, and a container with this machine's shell and little else that does nothing."""
    programs = [Path(found).resolve() for found in map(shutil.which, ("sh", "cat")) if found]
    needed = subprocess.run(["ldd", *programs], capture_output=True, text=True, check=True).stdout
    libraries = {Path(found) for found in re.findall(r"(/\S+) \(0x", needed)}
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        for program, name in zip(programs, ("bin/sh", "bin/cat"), strict=True):
            tar.add(program, name)
        for library in libraries:
            tar.add(library.resolve(), str(library).lstrip("/"))
    with docker.APIClient(container_engine.address, version="auto") as api:
        image = json.loads(api.import_image_from_data(archive.getvalue(), repository="pillarbox-test-shell"))["status"]
        container = api.create_container(image, ["/bin/cat"], stdin_open=True)["Id"]
        try:
            api.start(container)
            yield container_engine.address, container
        finally:
            api.remove_container(container, force=True)
            api.remove_image(image, force=True)


@pytest.mark.engine
def test_short_commands_on_a_busy_engine_return_all_that_they_print(shell_container: tuple[str, str]) -> None:
    address, container = shell_container

    def run(number: int) -> Completed:
        lines = number % 3
        stdin = b"typed\n" * (number % 2)
        with docker.APIClient(address, version="auto") as api:
            return execute(api, container, ["sh", "-c", SCRIPT, "sh", str(lines)], stdin=stdin)

    with busy(), ThreadPoolExecutor(8) as pool:
        for number, done in enumerate(pool.map(run, range(200))):
            expected = b"typed\n" * (number % 2) + b"".join(b"line %d\n" % i for i in range(number % 3))
            assert (done.code, done.output) == (7, expected), number
            assert done.errors == b"".join(b"error %d\n" % i for i in range(number % 3)), number
