"""A command in a running container, with its standard input and output as streams of any length.

Kubernetes' own protocol for it: a WebSocket whose messages begin with a byte that names the stream
(``v4.channel.k8s.io``, described in k8s.io/apimachinery, ``pkg/util/remotecommand``). The connection is the
``kubernetes`` package's; its ``WSClient`` keeps all that has come in memory, and what passes here may be large.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterable, Iterator
from contextlib import closing, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from pillarbox.rollout.errors import RolloutError

if TYPE_CHECKING:
    from pillarbox.rollout.cluster import Cluster

_STDIN, _STDOUT, _STDERR, _STATUS = range(4)
_PROTOCOL = "v4.channel.k8s.io"
#: Bytes of a message to the container.
_CHUNK = 1 << 16
#: How much of what a command says on standard error is kept for the error.
_KEPT = 4096


class CommandFailed(RolloutError):
    """A command in a container did not end well, or nobody knows how it ended."""


@dataclass(frozen=True)
class Container:
    """A container of a pod that runs."""

    namespace: str
    pod: str
    name: str

    def __str__(self) -> str:
        return f"container {self.name} of pod {self.namespace}/{self.pod}"


def output(cluster: Cluster, container: Container, command: Iterable[str], *, silence: float) -> Iterator[bytes]:
    """What ``command`` writes to standard output, as it comes.

    Raises :class:`CommandFailed` when it ends with anything but 0, when the connection breaks before it ends, and when
    nothing comes for ``silence`` seconds.
    """
    with closing(_Session(cluster, container, tuple(command), stdin=False, silence=silence)) as session:
        yield from session.messages()


def feed(
    cluster: Cluster,
    container: Container,
    command: Iterable[str],
    content: Iterable[bytes],
    size: int,
    *,
    silence: float,
) -> str:
    """Run ``command`` with the ``size`` bytes of ``content`` as its standard input, and return what it wrote.

    The container needs ``sh`` and ``head``: this protocol cannot say that the input ends, so ``head`` counts it.
    Raises as :func:`output` does.
    """
    counted = f"head -c {size} | {shlex.join(command)}"
    with closing(_Session(cluster, container, ("sh", "-c", counted), stdin=True, silence=silence)) as session:
        # A command that ends early, with a reason, closes the connection: the reason is what counts.
        with suppress(_Broken):
            for chunk in content:
                session.send(chunk)
        return b"".join(session.messages()).decode("utf-8", "replace")


class _Broken(Exception):
    """The connection takes nothing any more."""


class _Session:
    def __init__(
        self, cluster: Cluster, container: Container, command: tuple[str, ...], *, stdin: bool, silence: float
    ) -> None:
        self.container, self.command = container, command
        path = f"/api/v1/namespaces/{quote(container.namespace)}/pods/{quote(container.pod)}/exec"
        query = [("container", container.name), ("stdout", "true"), ("stderr", "true")]
        query += [("stdin", "true")] if stdin else []
        query += [("command", word) for word in command]
        self._socket: Any = cluster.websocket(path, query, _PROTOCOL, timeout=silence)

    def close(self) -> None:
        # Not the polite way, which waits for an answer: nothing is left to be printed.
        with suppress(OSError):
            self._socket.shutdown()

    def send(self, content: bytes) -> None:
        import websocket

        for start in range(0, len(content), _CHUNK):
            try:
                self._socket.send_binary(bytes([_STDIN]) + content[start : start + _CHUNK])
            except (websocket.WebSocketException, OSError) as error:
                raise _Broken from error

    def messages(self) -> Iterator[bytes]:
        """What comes on standard output, until the command has ended well."""
        import websocket

        printed = b""
        while True:
            try:
                operation, content = self._socket.recv_data()
            except websocket.WebSocketTimeoutException as error:
                raise self._failed("it wrote nothing for too long", printed) from error
            except (websocket.WebSocketException, OSError) as error:
                raise self._failed(f"the connection broke: {error or type(error).__name__}", printed) from error
            if operation == websocket.ABNF.OPCODE_CLOSE:
                raise self._failed("the connection was closed before it ended", printed)
            if not content:
                continue
            stream, content = content[0], content[1:]
            if stream == _STDOUT:
                yield content
            elif stream == _STDERR:
                printed = (printed + content)[-_KEPT:]
            elif stream == _STATUS:
                status = json.loads(content)
                if status.get("status") != "Success":
                    raise self._failed(str(status.get("message") or "it failed"), printed)
                return

    def _failed(self, reason: str, printed: bytes) -> CommandFailed:
        text = printed.decode("utf-8", "replace").strip()
        shown = shlex.join(self.command)
        return CommandFailed(f"`{shown}` in {self.container}: {reason}{': ' + text if text else ''}")
