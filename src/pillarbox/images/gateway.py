"""What a build's container can reach: the package sources of its image, read-only, and nothing else.

The container has no network. A relay in it passes on, through a pipe of the engine, what connects to a port of its own
loopback; here, outside, each request is looked at. It has to be a GET of something below the address of one of the
sources. This machine fetches it, with its own proxies, certificates and passwords, of which the container sees
nothing: to apt there, every source is plain HTTP through a proxy. What comes is checked by apt, with Debian's keys.
"""

from __future__ import annotations

import contextlib
import inspect
import ipaddress
import logging
import posixpath
import socket
import threading
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import SplitResult, unquote, urlsplit

import urllib3
from requests.utils import should_bypass_proxies
from urllib3.connection import HTTPConnection, HTTPSConnection

from pillarbox.images import relay
from pillarbox.system.apt import Source
from pillarbox.system.engine import Engine, EngineError
from pillarbox.system.execution import Pipe

log = logging.getLogger(__name__)

#: Where programs in the container find it.
PROXY = f"http://127.0.0.1:{relay.PORT}"
_AUTHORITIES = "/etc/ssl/certs/ca-certificates.crt"
#: Of what apt asks and what a source answers, the headers that are about the file.
_ASKED = ("range", "if-range", "if-modified-since", "cache-control", "user-agent")
_ANSWERED = ("content-length", "content-type", "content-range", "accept-ranges", "last-modified", "etag", "location")
_BLOCK = 1 << 16
#: An installation takes a few; one that takes as many is up to something else, and is served no more.
_CONNECTIONS = 1000


class Forbidden(Exception):
    """What was asked for is no package of the image's sources."""


@dataclass(frozen=True)
class PackageSources:
    """Package sources, and the settings of apt by which this machine reaches them.

    ``by_model`` is of sources that the model names: those may not be this machine, nor what only it can reach.
    """

    sources: tuple[Source, ...]
    settings: Mapping[str, str]
    by_model: bool

    def shown(self) -> tuple[Source, ...]:
        """The sources as the container is to know them: without passwords, and without TLS, which ends here."""
        return tuple(replace(source, uri=_shown(urlsplit(source.uri))) for source in self.sources)

    def find(self, url: str) -> SplitResult:
        """Where a request for ``url`` goes. Raises :class:`Forbidden`."""
        asked = urlsplit(url)
        plain = unquote(asked.path)
        odd = asked.query or asked.fragment or "\\" in plain or posixpath.normpath(plain) != plain
        if asked.scheme != "http" or odd:
            raise Forbidden(f"not the address of a package: {url}")
        for source in self.sources:
            real = urlsplit(source.uri)
            if asked.netloc == _netloc(real) and plain.startswith(unquote(real.path).rstrip("/") + "/"):
                return real._replace(path=asked.path)
        raise Forbidden(f"not below a package source of this image: {url}")

    def setting(self, name: str, url: SplitResult) -> str | None:
        """A setting of apt for the scheme and host of ``url``."""
        known = {key.lower(): value for key, value in self.settings.items()}
        base = f"acquire::{url.scheme}::{name}".lower()
        return known.get(f"{base}::{url.hostname}") or known.get(base)


class Fetcher:
    """Fetches from sources as this machine's apt would."""

    def __init__(self, sources: PackageSources) -> None:
        self.sources = sources
        self._managers: dict[str | None, urllib3.PoolManager] = {}
        self._lock = threading.Lock()

    def fetch(self, method: str, url: str, headers: Mapping[str, str]) -> urllib3.BaseHTTPResponse:
        """The answer, its body still to be read. Raises :class:`Forbidden`, and what urllib3 does."""
        real = self.sources.find(url)
        asked = dict(headers)
        if real.username is not None:
            login = f"{unquote(real.username)}:{unquote(real.password or '')}"
            asked |= urllib3.make_headers(basic_auth=login)
        plain = real._replace(netloc=_netloc(real)).geturl()
        # A redirection is an answer like others: where it leads is asked for, and looked at, as everything else.
        return self._manager(real).request(
            method, plain, headers=asked, redirect=False, preload_content=False, decode_content=False
        )

    def close(self) -> None:
        """Close all connections."""
        for manager in self._managers.values():
            manager.clear()

    def _manager(self, url: SplitResult) -> urllib3.PoolManager:
        proxy = self._proxy(url)
        key = f"{url.scheme} {proxy}"
        with self._lock:
            if key not in self._managers:
                self._managers[key] = self._make(url, proxy)
            return self._managers[key]

    def _proxy(self, url: SplitResult) -> str | None:
        proxy = self.sources.setting("Proxy", url)
        if not proxy or proxy == "DIRECT" or should_bypass_proxies(url.geturl(), None):
            return None
        return proxy

    def _make(self, url: SplitResult, proxy: str | None) -> urllib3.PoolManager:
        setting = self.sources.setting
        options: dict[str, Any] = {
            "timeout": urllib3.Timeout(connect=20, read=120),
            "retries": urllib3.Retry(1, redirect=0, status=0),
            "maxsize": 8,
        }
        if url.scheme == "https":
            checked = (setting("Verify-Peer", url) or "true").lower() != "false"
            options |= {
                "cert_reqs": "CERT_REQUIRED" if checked else "CERT_NONE",
                "ca_certs": setting("CAInfo", url) or _AUTHORITIES,
                "cert_file": setting("SslCert", url),
                "key_file": setting("SslKey", url),
            }
        if proxy:
            address = urlsplit(proxy)
            login = f"{unquote(address.username)}:{unquote(address.password or '')}" if address.username else None
            asked = urllib3.make_headers(proxy_basic_auth=login)
            return urllib3.ProxyManager(f"http://{_netloc(address)}", proxy_headers=asked, **options)
        manager = urllib3.PoolManager(**options)
        if self.sources.by_model:
            manager.pool_classes_by_scheme = {"http": _PublicPool, "https": _PublicTlsPool}
        return manager


class _Request(BaseHTTPRequestHandler):
    """One connection of a container."""

    protocol_version = "HTTP/1.1"
    server: Any

    def do_GET(self) -> None:
        """Pass on a file of a source."""
        asked = {name: value for name in _ASKED if (value := self.headers.get(name))}
        try:
            answer = self.server.fetch(self.command, self.path, asked)
        except Forbidden as error:
            self._refuse(403, str(error))
            return
        except (urllib3.exceptions.HTTPError, OSError) as error:
            self._refuse(502, f"Bad Gateway: {self.path}: {error}")
            return
        try:
            self.send_response(answer.status, answer.reason)
            for name in _ANSWERED:
                if value := answer.headers.get(name):
                    self.send_header(name, value)
            if "content-length" not in answer.headers:
                self.close_connection = True
                self.send_header("Connection", "close")
            self.end_headers()
            if self.command == "GET":
                for block in answer.stream(_BLOCK, decode_content=False):
                    self.wfile.write(block)
        except (urllib3.exceptions.HTTPError, OSError) as error:
            log.info("%s broke off: %s", self.path, error)
            self.close_connection = True
        finally:
            answer.release_conn()

    do_HEAD = do_GET

    def _refuse(self, status: int, text: str) -> None:
        log.info("refused: %s", text)
        self.send_error(status, text.encode("ascii", "replace").decode()[:300])

    def log_message(self, format: str, *args: Any) -> None:
        log.debug(format, *args)


def serve(connection: socket.socket, fetcher: Fetcher) -> None:
    """Answer the requests of one connection, until it ends."""
    with connection, contextlib.suppress(OSError):
        _Request(connection, ("container", 0), fetcher)  # type: ignore[arg-type]


@contextlib.contextmanager
def opened(engine: Engine, container: str, sources: PackageSources, environment: Mapping[str, str]) -> Iterator[None]:
    """While the context lasts, programs in ``container`` reach the sources through :data:`PROXY`.

    Raises :class:`EngineError` when the relay does not start there.
    """
    fetcher = Fetcher(sources)
    command = ["python3", "-IS", "-c", inspect.getsource(relay)]
    with engine.pipe(container, command, environment) as pipe, contextlib.closing(fetcher):
        frames = _frames(pipe)
        if next(frames, None) is None:
            raise EngineError(f"the relay in {container} does not start: {pipe.errors.decode(errors='replace')}")
        thread = threading.Thread(target=_connect, args=(frames, pipe, fetcher), daemon=True)
        thread.start()
        yield
    thread.join()


def _connect(frames: Iterable[tuple[int, bytes]], pipe: Pipe, fetcher: Fetcher) -> None:
    """Give each connection that the relay has a handler of its own."""
    ours: dict[int, socket.socket] = {}
    try:
        for number, data in frames:
            if number not in ours:
                if len(ours) >= _CONNECTIONS:
                    break
                ours[number], theirs = socket.socketpair()
                threading.Thread(target=serve, args=(theirs, fetcher), daemon=True).start()
                threading.Thread(target=_answer, args=(number, ours[number], pipe), daemon=True).start()
            with contextlib.suppress(OSError):
                if data:
                    ours[number].sendall(data)
                else:
                    ours[number].shutdown(socket.SHUT_WR)
    finally:
        for connection in ours.values():
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)


def _answer(number: int, connection: socket.socket, pipe: Pipe) -> None:
    with contextlib.suppress(OSError):
        while data := connection.recv(relay.BLOCK):
            pipe.send(relay.frame(number, data))
        pipe.send(relay.frame(number, b""))


def _frames(pipe: Pipe) -> Iterator[tuple[int, bytes]]:
    """The frames of the relay. What runs in the container may write anything there; it ends only its own build."""
    rest = b""
    for chunk in pipe:
        rest += chunk
        while len(rest) >= relay.HEADER.size:
            number, length = relay.HEADER.unpack_from(rest)
            end = relay.HEADER.size + length
            if len(rest) < end:
                break
            yield number, rest[relay.HEADER.size : end]
            rest = rest[end:]


def _netloc(url: SplitResult) -> str:
    """Host and port, without a password."""
    return url.netloc.rpartition("@")[2]


def _shown(url: SplitResult) -> str:
    return url._replace(scheme="http", netloc=_netloc(url)).geturl()


def _is_near(address: str) -> bool:
    """Whether ``address`` is this machine, or one that only this machine reaches."""
    found = ipaddress.ip_address(address.partition("%")[0])
    found = getattr(found, "ipv4_mapped", None) or found
    if found.is_loopback or found.is_link_local or found.is_multicast or found.is_unspecified:
        return True
    with socket.socket(socket.AF_INET6 if found.version == 6 else socket.AF_INET) as probe:
        try:
            probe.bind((str(found), 0))
        except OSError:
            return False
    return True


def _refuse_near(connection: HTTPConnection) -> None:
    address = str(connection.sock.getpeername()[0])
    if _is_near(address):
        connection.close()
        raise Forbidden(f"{connection.host} is {address}: a mirror that the model names is another machine")


class _Public(HTTPConnection):
    def connect(self) -> None:
        super().connect()
        _refuse_near(self)


class _PublicTls(HTTPSConnection):
    def connect(self) -> None:
        super().connect()
        _refuse_near(self)


class _PublicPool(urllib3.HTTPConnectionPool):
    ConnectionCls = _Public


class _PublicTlsPool(urllib3.HTTPSConnectionPool):
    ConnectionCls = _PublicTls
