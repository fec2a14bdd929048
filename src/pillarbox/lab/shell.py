"""Running commands on a host of the lab and bringing files there."""

from __future__ import annotations

import io
import secrets
import signal
import tarfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import docker
import requests
from docker.models.containers import Container

from pillarbox.lab.errors import LabError
from pillarbox.system.command import tail
from pillarbox.system.execution import Completed, execute, owned_by_root, pack


def run(
    container: Container,
    command: Sequence[str],
    *,
    on_out: Callable[[str], None] | None = None,
    on_err: Callable[[str], None] | None = None,
    environment: Mapping[str, str] | None = None,
    check: bool = True,
    what: str | None = None,
) -> Completed:
    """Run ``command`` on a host and return what it printed; lines go to ``on_out`` and ``on_err`` as they come.

    The engine knows no way to end what it runs: see :func:`interruptible`.

    With ``check``, raises :class:`LabError` with the last lines when the command fails; ``what`` names it there.
    """
    api = container.client.api
    try:
        result = execute(api, container.id, command, environment=environment, on_out=on_out, on_err=on_err)
    except (docker.errors.DockerException, requests.exceptions.RequestException) as error:
        # What reading the lines raises (a pipe that nobody reads any more) is not the engine's.
        reason = getattr(error, "explanation", None) or error
        raise LabError(f"{what or command[0]} on {container.name}: {reason}") from error
    if check and result.code != 0:
        text = tail(result.err if result.err.strip() else result.out) or "    (it printed nothing)"
        raise LabError(f"{what or ' '.join(command[:3])} on {container.name} ended with {result.code}:\n{text}")
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
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        pack(archive, path.lstrip("/"), data, mode, modified=int(time.time()))
    container.put_archive("/", buffer.getvalue())


def put_tree(container: Container, target: str, base: Path, files: Iterable[Path]) -> None:
    """Put ``files`` below the directory ``target`` of a host, by their names below ``base``, owned by root.

    What was in ``target`` before is gone, and nobody sees it half-written.
    """
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for file in sorted(files):
            archive.add(
                file, f"{target.lstrip('/')}.new/{file.relative_to(base)}", recursive=False, filter=owned_by_root
            )
    run(container, ["rm", "-rf", f"{target}.new"])
    container.put_archive("/", buffer.getvalue())
    script = 'rm -rf "$1.old"; if [ -e "$1" ]; then mv "$1" "$1.old"; fi; mv "$1.new" "$1"; rm -rf "$1.old"'
    run(container, ["sh", "-ec", script, "sh", target])
