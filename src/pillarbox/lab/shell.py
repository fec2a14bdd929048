"""Running commands on a host of the lab and bringing files there, through the engine."""

from __future__ import annotations

import io
import secrets
import signal
import tarfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import docker
from docker.models.containers import Container

from pillarbox.lab.errors import LabError
from pillarbox.system.command import tail


@dataclass(frozen=True)
class Result:
    """What a command on a host said, and its exit code."""

    code: int
    out: str
    err: str


def run(
    container: Container,
    command: Sequence[str],
    *,
    on_out: Callable[[str], None] | None = None,
    on_err: Callable[[str], None] | None = None,
    environment: Mapping[str, str] | None = None,
    check: bool = True,
    what: str | None = None,
) -> Result:
    """Run ``command`` on a host and return what it said; lines go to ``on_out`` and ``on_err`` as they come.

    The engine knows no way to end what it runs: see :func:`interruptible`.

    With ``check``, raises :class:`LabError` with the last lines when the command fails; ``what`` names it there.
    """
    api = container.client.api
    try:
        job = api.exec_create(container.id, list(command), environment=dict(environment or {}))
        out, err = _Lines(on_out), _Lines(on_err)
        for part_out, part_err in api.exec_start(job["Id"], stream=True, demux=True):
            if part_out:
                out.feed(part_out)
            if part_err:
                err.feed(part_err)
        out.close()
        err.close()
        code = api.exec_inspect(job["Id"])["ExitCode"]
    except docker.errors.APIError as error:
        raise LabError(f"{what or command[0]} on {container.name}: {error.explanation or error}") from error
    result = Result(-1 if code is None else int(code), out.text, err.text)
    if check and result.code != 0:
        said = tail(result.err if result.err.strip() else result.out) or "    (it said nothing)"
        raise LabError(f"{what or ' '.join(command[:3])} on {container.name} ended with {result.code}:\n{said}")
    return result


@contextmanager
def interruptible(container: Container, command: Sequence[str]) -> Iterator[list[str]]:
    """A command for :func:`run` that a first Ctrl-C here interrupts there; a second one ends the waiting for it."""
    note = f"/run/pillarbox-exec-{secrets.token_hex(8)}"
    before = signal.getsignal(signal.SIGINT)

    def forward(*_: object) -> None:
        signal.signal(signal.SIGINT, before)
        run(container, ["sh", "-c", 'kill -INT "$(cat "$1")"', "sh", note], check=False)

    signal.signal(signal.SIGINT, forward)
    try:
        yield ["sh", "-c", 'echo $$ > "$0"; exec "$@"', note, *command]
    finally:
        signal.signal(signal.SIGINT, before)
        run(container, ["rm", "-f", note], check=False)


def put(container: Container, path: str, content: str | bytes, mode: int = 0o644) -> None:
    """Write one file on a host; its directory is made. Not for what lies under /run and /tmp."""
    data = content.encode() if isinstance(content, str) else content
    member = tarfile.TarInfo(path.lstrip("/"))
    member.size, member.mode, member.mtime = len(data), mode, int(time.time())
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        archive.addfile(member, io.BytesIO(data))
    container.put_archive("/", buffer.getvalue())


def put_tree(container: Container, target: str, base: Path, files: Iterable[Path]) -> None:
    """Put ``files`` below the directory ``target`` of a host, by their names below ``base``, owned by root.

    What was in ``target`` before is gone, and nobody sees it half-written.
    """
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for file in sorted(files):
            archive.add(file, f"{target.lstrip('/')}.new/{file.relative_to(base)}", recursive=False, filter=_root)
    run(container, ["rm", "-rf", f"{target}.new"])
    container.put_archive("/", buffer.getvalue())
    script = 'rm -rf "$1.old"; if [ -e "$1" ]; then mv "$1" "$1.old"; fi; mv "$1.new" "$1"; rm -rf "$1.old"'
    run(container, ["sh", "-ec", script, "sh", target])


def _root(member: tarfile.TarInfo) -> tarfile.TarInfo:
    member.uid = member.gid = 0
    member.uname = member.gname = "root"
    return member


class _Lines:
    """Bytes in, whole lines out."""

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
    def text(self) -> str:
        return b"".join(self._parts).decode(errors="replace")
