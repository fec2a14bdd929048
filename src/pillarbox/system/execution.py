"""Running a command in a container, and bringing files there."""

from __future__ import annotations

import contextlib
import io
import socket
import tarfile
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from docker import APIClient
from docker.utils.socket import demux_adaptor, frames_iter


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
    """Run ``command`` in a container, as root, to its end; lines go to ``on_out`` and ``on_err`` as they come.

    The engine knows no way to end what it runs. Raises what the client raises.
    """
    job = api.exec_create(container, list(command), stdin=bool(stdin), environment=dict(environment or {}), user="0:0")
    stream = api.exec_start(job["Id"], socket=True)
    out, err = LineSplitter(on_out), LineSplitter(on_err)
    try:
        raw = getattr(stream, "_sock", stream)
        sender = threading.Thread(target=_feed, args=(raw, stdin), daemon=True)
        sender.start()
        for frame in frames_iter(stream, tty=False):
            for part, lines in zip(demux_adaptor(*frame), (out, err), strict=True):
                if part:
                    lines.feed(part)
        sender.join()
    finally:
        stream.close()
    out.close()
    err.close()
    code = api.exec_inspect(job["Id"])["ExitCode"]
    return Completed(-1 if code is None else int(code), out.data, err.data)


def _feed(raw: Any, data: bytes) -> None:
    """Send all of ``data``, then say that no more will come."""
    with contextlib.suppress(OSError):  # the command may end without reading to the end
        raw.sendall(data)
        raw.shutdown(socket.SHUT_WR)


class LineSplitter:
    """Bytes in, whole lines out, to ``sink`` where there is one; ``data`` is all that came."""

    def __init__(self, sink: Callable[[str], None] | None) -> None:
        self._sink = sink
        self._rest = b""
        self._parts: list[bytes] = []

    def feed(self, data: bytes) -> None:
        self._parts.append(data)
        if self._sink is None:
            return
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            self._sink(line.decode(errors="replace").rstrip("\r"))

    def close(self) -> None:
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
