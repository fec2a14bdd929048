"""Running a command in a container, and bringing files there."""

from __future__ import annotations

import contextlib
import io
import secrets
import socket
import ssl
import struct
import tarfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import docker.errors
from docker import APIClient

#: The header of a frame of output: stream, three unused bytes, size of the data.
_HEADER = struct.Struct(">BxxxL")
_STDERR = 2

# What says that all came through goes the same way as the output, behind it.
_WRAP = r"""
"$@"
code=$?
printf '\000%s' "$0"
printf '\000%s' "$0" >&2
exit $code
"""
#: From here on codes are of what a signal ended: the shell itself may be that.
_KILLED = 128


@dataclass(frozen=True)
class Completed:
    """What a command in a container came to; ``code`` is -1 where the container ended before the command did."""

    code: int
    output: bytes
    errors: bytes

    @property
    def out(self) -> str:
        """Standard output as text."""
        return self.output.decode(errors="replace")

    @property
    def err(self) -> str:
        """Standard error as text."""
        return self.errors.decode(errors="replace")


class OutputLost(docker.errors.DockerException):  # type: ignore[misc]
    """A command in a container ran, and not all that it printed came back."""


def execute(
    api: APIClient,
    container: str,
    command: Sequence[str],
    *,
    environment: Mapping[str, str] | None = None,
    stdin: bytes = b"",
    on_out: Callable[[str], None] | None = None,
    on_err: Callable[[str], None] | None = None,
) -> Completed:
    """Run ``command`` in a container that has a shell, as root, to its end; lines go to ``on_out`` and ``on_err`` as
    they come.

    The engine knows no way to end what it runs. Raises what the client raises, and :class:`OutputLost` rather than
    return a part of the output.
    """
    end = secrets.token_hex(8)
    # An engine that has no time for it closes a stream before all that it should pass on went through; nothing else
    # tells that from a command that prints nothing.
    wrapped = ["/bin/sh", "-c", _WRAP, end, *command]
    job = api.exec_create(container, wrapped, stdin=bool(stdin), environment=dict(environment or {}), user="0:0")
    out, err = LineSplitter(on_out, b"\0" + end.encode()), LineSplitter(on_err, b"\0" + end.encode())
    with attached(api, job["Id"]) as (ahead, connection):
        sender = threading.Thread(target=_feed, args=(connection, stdin), daemon=True)
        sender.start()
        for stream, data in _frames(ahead, connection):
            (err if stream == _STDERR else out).feed(data)
        sender.join()
    out.close()
    err.close()
    code = api.exec_inspect(job["Id"])["ExitCode"]
    if code is None:
        return Completed(-1, out.data, err.data)
    if int(code) < _KILLED and not (out.ended and err.ended):
        raise OutputLost(f"{command[0]} ended with {code}, and the engine lost a part of what it printed")
    return Completed(int(code), out.data, err.data)


@contextlib.contextmanager
def attached(api: APIClient, job: str, *, tty: bool = False) -> Iterator[tuple[bytes, socket.socket]]:
    """Start the command that was created as ``job``: what of its output has been read already, and the connection that
    the rest comes through.

    Python's HTTP client reads ahead. What a busy engine sends in one piece with its headers, all output of a short
    command, stays in that client's buffer, and the stream that Docker's client returns begins behind it.
    """
    stream = api.exec_start(job, tty=tty, socket=True)
    connection: socket.socket = getattr(stream, "_sock", stream)
    response = stream._response
    try:
        reader = response.raw._fp.fp
        connection.settimeout(0)
        try:
            ahead = reader.read(len(reader.peek()))
        except ssl.SSLWantReadError:
            ahead = b""
        # A command may be silent for as long as it likes.
        connection.settimeout(None)
        yield ahead, connection
    finally:
        response.close()


def _frames(ahead: bytes, connection: socket.socket) -> Iterator[tuple[int, bytes]]:
    """The frames that the engine wraps output in: stream and data. Raises :class:`OutputLost` when one is cut off."""
    pending = bytearray(ahead)

    def take(size: int) -> bytes | None:
        while len(pending) < size:
            received = connection.recv(1 << 16)
            if not received:
                return None
            pending.extend(received)
        taken = bytes(pending[:size])
        del pending[:size]
        return taken

    while header := take(_HEADER.size):
        stream, size = _HEADER.unpack(header)
        data = take(size)
        if data is None:
            break
        yield stream, data
    if header or pending:
        raise OutputLost("the connection to the engine ended within what a command printed")


class Pipe:
    """What a command in a container writes, block by block, and what it reads. Safe to use from several threads."""

    def __init__(self, ahead: bytes, connection: socket.socket) -> None:
        self._ahead, self._connection = ahead, connection
        self._lock = threading.Lock()
        self.errors = b""
        """The last of what it has written to standard error."""

    def __iter__(self) -> Iterator[bytes]:
        with contextlib.suppress(OSError, OutputLost):
            for stream, data in _frames(self._ahead, self._connection):
                if stream == _STDERR:
                    self.errors = (self.errors + data)[-2000:]
                else:
                    yield data

    def send(self, data: bytes) -> None:
        """Write all of ``data``. Raises ``OSError`` when the command has ended."""
        with self._lock:
            self._connection.sendall(data)

    def close(self) -> None:
        """End both directions; a thread that reads ends."""
        with contextlib.suppress(OSError):
            self._connection.shutdown(socket.SHUT_RDWR)


def _feed(connection: socket.socket, data: bytes) -> None:
    """Send all of ``data``, then say that no more will come."""
    with contextlib.suppress(OSError):  # the command may end without reading to the end
        connection.sendall(data)
        connection.shutdown(socket.SHUT_WR)


class LineSplitter:
    """Bytes in, whole lines out, to ``sink`` where there is one; ``data`` is all that came.

    ``end`` marks where output is complete and belongs to nobody; ``ended`` says whether it came.
    """

    def __init__(self, sink: Callable[[str], None] | None, end: bytes = b"") -> None:
        self._sink = sink
        self._end = end
        self._held = b""
        self._rest = b""
        self._parts: list[bytes] = []
        self.ended = False

    def feed(self, data: bytes) -> None:
        if self._end and not self.ended:
            before, found, after = (self._held + data).partition(self._end)
            self.ended = bool(found)
            # It may come in pieces.
            sizes = range(0 if found else min(len(before), len(self._end) - 1), 0, -1)
            held = next((size for size in sizes if self._end.startswith(before[-size:])), 0)
            self._held = before[len(before) - held :]
            # A process that goes on in the background may print after the end.
            data = before[: len(before) - held] + after
        self._take(data)

    def _take(self, data: bytes) -> None:
        self._parts.append(data)
        if self._sink is None:
            return
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            self._sink(line.decode(errors="replace").rstrip("\r"))

    def close(self) -> None:
        self._take(self._held)
        self._held = b""
        if self._sink is not None and self._rest:
            self._sink(self._rest.decode(errors="replace"))

    @property
    def data(self) -> bytes:
        return b"".join(self._parts)


def pack(archive: tarfile.TarFile, name: str, content: bytes, mode: int = 0o644, modified: int = 0) -> None:
    """Add one file, owned by root and by default as old as the epoch, to an archive that a container is to get."""
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode, entry.mtime = len(content), mode, modified
    archive.addfile(entry, io.BytesIO(content))


def owned_by_root(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    """A filter for :meth:`tarfile.TarFile.add`: whoever owns the file here, root owns it there."""
    entry.uid = entry.gid = 0
    entry.uname = entry.gname = "root"
    return entry
