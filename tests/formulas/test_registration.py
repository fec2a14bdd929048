"""What the Jobs of OpenStack services ask of Keystone, where two of them need the same project at the same time.

The server here is a mock: no real Keystone can be made to lose that race when a test wants it.
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

ROOT = Path(__file__).resolve().parents[2]


class MockOfKeystone(BaseHTTPRequestHandler):
    """Keeps what it is given; another client makes each project and role after ours saw that there is none."""

    kept: dict[str, list[dict[str, Any]]]

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        plural = url.path.removeprefix("/v3/")
        wanted = {key: values[0] for key, values in parse_qs(url.query).items()}
        found = [one for one in self.kept.get(plural, ()) if wanted.items() <= one.items()]
        self.answer(200, {plural: found})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        plural = self.path.removeprefix("/v3/")
        if plural == "auth/tokens":
            return self.answer(201, {})
        (kind, wanted), known = body.popitem(), self.kept.setdefault(plural, [])
        known.append({**wanted, "id": f"{kind}-{len(known)}"})
        if kind in ("project", "role"):
            return self.answer(409, {"error": {"title": "Conflict"}})
        return self.answer(201, {kind: known[-1]})

    def do_PUT(self) -> None:
        self.answer(204)

    def answer(self, status: int, body: dict[str, Any] | None = None) -> None:
        data = b"" if body is None else json.dumps(body).encode()
        self.send_response(status)
        self.send_header("X-Subject-Token", "a-token")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing on standard error."""


@pytest.fixture
def keystone() -> Iterator[ThreadingHTTPServer]:
    handler = type("Handler", (MockOfKeystone,), {"kept": {}})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever).start()
        yield server
        server.shutdown()


def test_what_another_job_made_in_the_same_moment_is_taken(tmp_path: Path, keystone: ThreadingHTTPServer) -> None:
    settings = {
        "host": "127.0.0.1", "port": keystone.server_port, "admin": "admin", "admin_tenant": "admin",
        "tenant": "service", "user": "glance", "password": "secret", "roles": ["service"],
        "type": "image", "name": "glance", "region": "one", "public_url": "http://p", "internal_url": "http://i",
    }  # fmt: skip
    (tmp_path / "identity.json").write_text(json.dumps(settings))
    script = (ROOT / "formulas/openstack/files/register").read_text()
    place = "/etc/{{ service.name }}/identity.json"
    assert place in script
    (tmp_path / "register").write_text(script.replace(place, str(tmp_path / "identity.json")))
    done = subprocess.run(
        [sys.executable, "-IS", tmp_path / "register"],
        env={"KEYSTONE_ADMIN_PASSWORD": "admin"}, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    made = [line for line in done.stdout.splitlines() if line.endswith(" made")]
    assert made[:2] == ["register: user glance made", "register: service image made"]
    assert not [line for line in made if "project" in line or "role" in line]
