"""What a build reaches: its package sources, and nothing else, whatever somebody who may push tries."""

from __future__ import annotations

import base64
import http.server
import socket
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from pillarbox.images import gateway, sources
from pillarbox.system.apt import Source

Ask = Callable[..., tuple[int, dict[str, str], bytes]]


class Upstream:
    """A web server on the loopback interface that says ``package`` below /debian, and notes what it is asked."""

    def __init__(self, certificate: Path | None = None) -> None:
        self.asked: list[tuple[str, str]] = []
        self.logins: list[str | None] = []
        upstream = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                upstream.asked.append((self.command, self.path))
                upstream.logins.append(self.headers.get("Authorization") or self.headers.get("Proxy-Authorization"))
                away, body = self.path.endswith("/away"), b"package"
                self.send_response(302 if away else 200)
                if away:
                    self.send_header("Location", f"http://127.0.0.1:{upstream.port}/secret")
                if not self.path.endswith("/endless"):
                    self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body if self.command == "GET" else b"")
                self.close_connection = self.path.endswith("/endless")

            do_HEAD = do_POST = do_GET

            def log_message(self, *_: object) -> None:
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        if certificate:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


@contextmanager
def serving(certificate: Path | None = None) -> Iterator[Upstream]:
    upstream = Upstream(certificate)
    yield upstream
    upstream.server.shutdown()
    upstream.server.server_close()


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    with serving() as found:
        yield found


def known(uri: str, by_model: bool = False, **settings: str) -> gateway.PackageSources:
    named = {f"Acquire::{name.replace('_', '::')}": value for name, value in settings.items()}
    return gateway.PackageSources((Source(uri, ("bookworm",), ("main",)),), named, by_model)


@contextmanager
def asking(found: gateway.PackageSources) -> Iterator[Ask]:
    """One connection to the gateway, as a program in a container has it."""
    fetcher = gateway.Fetcher(found)
    ours, theirs = socket.socketpair()
    thread = threading.Thread(target=gateway.serve, args=(theirs, fetcher), daemon=True)
    thread.start()
    stream = ours.makefile("rb")

    def ask(target: str, method: str = "GET", headers: str = "") -> tuple[int, dict[str, str], bytes]:
        ours.sendall(f"{method} {target} HTTP/1.1\r\nHost: x\r\n{headers}\r\n".encode())
        status = int(stream.readline().split()[1])
        lines = iter(stream.readline, b"\r\n")
        got = {name.lower(): value.strip() for name, _, value in (line.decode().partition(":") for line in lines)}
        if method == "HEAD":
            return status, got, b""
        return status, got, stream.read(int(got["content-length"])) if "content-length" in got else stream.read()

    try:
        yield ask
    finally:
        ours.shutdown(socket.SHUT_RDWR)
        thread.join(10)
        stream.close()
        ours.close()
        fetcher.close()


def test_what_is_below_a_source_is_passed_on(upstream: Upstream) -> None:
    base = f"http://127.0.0.1:{upstream.port}/debian"
    with asking(known(f"{base}/")) as ask:
        assert ask(f"{base}/pool/a_1%2B2~x.deb")[::2] == (200, b"package")
        assert ask(f"{base}/dists/InRelease", "HEAD")[0] == 200
        # A body of no known length ends with the connection.
        assert ask(f"{base}/endless")[::2] == (200, b"package")
    found = [path.removeprefix("/debian/") for _, path in upstream.asked]
    assert found == ["pool/a_1%2B2~x.deb", "dists/InRelease", "endless"]


@pytest.mark.parametrize(
    ("method", "target"),
    [
        ("GET", "http://127.0.0.1:{port}/secret"),
        ("GET", "http://127.0.0.1:{port}/debian"),
        ("GET", "http://127.0.0.1:{port}/debiansecret"),
        ("GET", "http://127.0.0.1:{port}/debian/../secret"),
        ("GET", "http://127.0.0.1:{port}/debian/%2e%2e/secret"),
        ("GET", "http://127.0.0.1:{port}/debian/x?to=secret"),
        ("GET", "http://user@127.0.0.1:{port}/debian/x"),
        ("GET", "http://localhost:{port}/debian/x"),
        ("GET", "http://127.0.0.1:{other}/debian/x"),
        ("GET", "http://127.0.0.1:{other}/v2/"),
        ("GET", "https://127.0.0.1:{port}/debian/x"),
        ("GET", "file:///etc/shadow"),
        ("GET", "/debian/x"),
        ("GET", "http://169.254.169.254/latest/meta-data/"),
        ("POST", "http://127.0.0.1:{port}/debian/x"),
        ("CONNECT", "127.0.0.1:{port}"),
    ],
)
def test_a_pusher_reaches_nothing_else(upstream: Upstream, method: str, target: str) -> None:
    with serving() as other, asking(known(f"http://127.0.0.1:{upstream.port}/debian")) as ask:
        status, _, body = ask(target.format(port=upstream.port, other=other.port), method)
        assert status in (403, 501), body
        assert (upstream.asked, other.asked) == ([], [])


def test_a_source_leads_nowhere_else(upstream: Upstream) -> None:
    base = f"http://127.0.0.1:{upstream.port}/debian"
    with asking(known(base)) as ask:
        status, headers, _ = ask(f"{base}/away")
        assert status == 302
        assert ask(headers["location"])[0] == 403
    assert [path for _, path in upstream.asked] == ["/debian/away"]


def test_a_pusher_names_no_mirror_on_the_machine_itself(upstream: Upstream) -> None:
    """The master's own ports, or the address at which a cloud tells its machines their secrets."""
    for host in ("127.0.0.1", "localhost"):
        base = f"http://{host}:{upstream.port}/debian"
        with asking(known(base, by_model=True)) as ask:
            status, _, body = ask(f"{base}/x")
            assert status == 403 and b"another machine" in body
    assert upstream.asked == []


@pytest.mark.parametrize(
    "address", ["127.0.0.1", "127.9.9.9", "::1", "169.254.169.254", "fe80::1%1", "0.0.0.0", "::ffff:127.0.0.1"]
)
def test_what_is_near(address: str) -> None:
    assert gateway._is_near(address)
    assert not gateway._is_near("192.0.2.1") and not gateway._is_near("2001:db8::1")


def test_the_machines_own_address_is_near() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
        except OSError:
            pytest.skip("needs a machine with a network")
        assert gateway._is_near(probe.getsockname()[0])


def test_passwords_and_certificates_stay_outside(upstream: Upstream, tmp_path: Path) -> None:
    """A container sees plain HTTP; the machine itself has a password, and checks whom it asks."""
    secret = known(f"http://ann:s3cret%40@127.0.0.1:{upstream.port}/debian")
    with asking(secret) as ask:
        assert ask(f"http://127.0.0.1:{upstream.port}/debian/x")[0] == 200
    assert upstream.logins == ["Basic " + base64.b64encode(b"ann:s3cret@").decode()]
    assert not any(b"s3cret" in content for content in sources.files(secret).values())

    certificate = tmp_path / "server.pem"
    about = ["-subj", "/CN=x", "-addext", "subjectAltName=IP:127.0.0.1", "-newkey", "rsa:2048", "-nodes"]
    make = ["openssl", "req", "-x509", *about, "-keyout", certificate, "-out", tmp_path / "ca"]
    subprocess.run(make, check=True, capture_output=True)
    certificate.write_text(certificate.read_text() + (tmp_path / "ca").read_text())
    with serving(certificate) as secure:
        base = f"127.0.0.1:{secure.port}/debian"
        with asking(known(f"https://{base}", https_CAInfo=str(tmp_path / "ca"))) as ask:
            assert ask(f"http://{base}/x")[::2] == (200, b"package")
        with asking(known(f"https://{base}")) as ask:
            assert ask(f"http://{base}/x")[0] == 502
    files = sources.files(known("https://mirror.example/debian", https_SslKey="/etc/secret", https_CAInfo="/etc/ca"))
    assert not any(b"/etc/" in line for line in files["apt.conf"].splitlines() if b"Acquire" in line)
    assert files["sources.list"] == b"deb http://mirror.example/debian bookworm main\n"


def test_the_machines_proxy_is_asked(upstream: Upstream) -> None:
    settings = {"http_Proxy": f"http://bob:pw@127.0.0.1:{upstream.port}", "http_Proxy_direct.example": "DIRECT"}
    with asking(known("http://deb.example/debian", **settings)) as ask:
        assert ask("http://deb.example/debian/x")[0] == 200
    assert upstream.asked == [("GET", "http://deb.example/debian/x")]
    assert upstream.logins == ["Basic " + base64.b64encode(b"bob:pw").decode()]
    assert not any(b"bob" in content for content in sources.files(known("http://deb.example", **settings)).values())
    own = f"http://127.0.0.1:{upstream.port}/debian"
    with asking(known(own, **{**settings, "http_Proxy_127.0.0.1": "DIRECT"})) as ask:
        assert ask(f"{own}/y")[0] == 200
    assert upstream.asked[1:] == [("GET", "/debian/y")]


def test_a_source_that_is_away_is_no_answer_for_ever(upstream: Upstream) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        base = f"http://127.0.0.1:{nobody.getsockname()[1]}/debian"
        with asking(known(base)) as ask:
            status, _, body = ask(f"{base}/x")
    assert status == 502 and b"Connection refused" in body
