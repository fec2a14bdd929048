"""A terminal on a host of the lab."""

from __future__ import annotations

import fcntl
import os
import select
import shutil
import signal
import socket
import sys
import termios
import tty
from collections.abc import Sequence
from typing import Any

from docker.models.containers import Container


def interactive(container: Container, command: Sequence[str]) -> int:
    """Run ``command`` on the host with this terminal, or with standard input and output where there is none.

    Returns its exit code.
    """
    api = container.client.api
    with_terminal = sys.stdin.isatty() and sys.stdout.isatty()
    environment = {"TERM": os.environ.get("TERM", "xterm"), "LC_ALL": "C.UTF-8"}
    job = api.exec_create(container.id, list(command), stdin=True, tty=True, environment=environment, workdir="/root")
    connection = api.exec_start(job["Id"], tty=True, socket=True)
    # Behind the file-like object that the client returns is the connection itself.
    channel = getattr(connection, "_sock", connection)

    def resize(*_: object) -> None:
        size = shutil.get_terminal_size()
        api.exec_resize(job["Id"], height=size.lines, width=size.columns)

    saved = None
    flags = fcntl.fcntl(channel.fileno(), fcntl.F_GETFL)
    fcntl.fcntl(channel.fileno(), fcntl.F_SETFL, flags & ~os.O_NONBLOCK)
    channel.settimeout(None)
    try:
        if with_terminal:
            saved = termios.tcgetattr(sys.stdin)
            tty.setraw(sys.stdin)
            resize()
            signal.signal(signal.SIGWINCH, resize)
        _pump(channel)
    finally:
        if saved is not None:
            termios.tcsetattr(sys.stdin, termios.TCSADRAIN, saved)
        channel.close()
    return int(api.exec_inspect(job["Id"])["ExitCode"] or 0)


def _pump(channel: socket.socket) -> None:
    sources: list[Any] = [channel, sys.stdin]
    while True:
        ready, _, _ = select.select(sources, [], [])
        if channel in ready:
            data = channel.recv(65536)
            if not data:
                return
            os.write(sys.stdout.fileno(), data)
        if sys.stdin in ready:
            typed = os.read(sys.stdin.fileno(), 65536)
            if typed:
                channel.sendall(typed)
            else:
                # End of input, as a terminal says it.
                channel.sendall(b"\x04")
                sources.remove(sys.stdin)
