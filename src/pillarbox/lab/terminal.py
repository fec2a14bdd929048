"""A terminal on a host of the lab."""

from __future__ import annotations

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

from pillarbox.system.execution import attached

_UNKNOWN = 255


def interactive(container: Container, command: Sequence[str]) -> int:
    """Run ``command`` on the host with this terminal, or with standard input and output where there is none.

    Returns its exit code.
    """
    api = container.client.api
    with_terminal = sys.stdin.isatty() and sys.stdout.isatty()
    environment = {"TERM": os.environ.get("TERM", "xterm"), "LC_ALL": "C.UTF-8"}
    job = api.exec_create(container.id, list(command), stdin=True, tty=True, environment=environment, workdir="/root")

    def resize(*_: object) -> None:
        size = shutil.get_terminal_size()
        api.exec_resize(job["Id"], height=size.lines, width=size.columns)

    saved = None
    with attached(api, job["Id"], tty=True) as (ahead, channel):
        try:
            if with_terminal:
                saved = termios.tcgetattr(sys.stdin)
                tty.setraw(sys.stdin)
                resize()
                signal.signal(signal.SIGWINCH, resize)
            os.write(sys.stdout.fileno(), ahead)
            _pump(channel)
        finally:
            if saved is not None:
                termios.tcsetattr(sys.stdin, termios.TCSADRAIN, saved)
    code = api.exec_inspect(job["Id"])["ExitCode"]
    # The host ended before the command did: nobody knows what came of it.
    return _UNKNOWN if code is None else int(code)


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
