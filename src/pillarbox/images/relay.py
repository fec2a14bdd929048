"""A build's way out: connections to a port of the container's own loopback, all of them through one pipe.

The container has no network. This file runs in it, by itself, and passes on what the gateway (see ``gateway``) lets
through; it decides nothing. Both ends of the pipe speak frames: a connection's number, a length, and so many bytes;
without bytes, that end of the connection will write no more. The first frame says that the port is open.
"""

from __future__ import annotations

import asyncio
import itertools
import struct
import sys

HEADER = struct.Struct(">IH")
PORT = 3128
BLOCK = 1 << 15


def frame(connection: int, data: bytes) -> bytes:
    """A frame; ``data`` is at most a block."""
    return HEADER.pack(connection, len(data)) + data


async def relay() -> None:
    """Serve until the pipe ends."""
    numbers = itertools.count(1)
    writers: dict[int, asyncio.StreamWriter] = {}

    def say(connection: int, data: bytes) -> None:
        sys.stdout.buffer.write(frame(connection, data))
        sys.stdout.buffer.flush()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        number = next(numbers)
        writers[number] = writer
        try:
            while data := await reader.read(BLOCK):
                say(number, data)
        except OSError:
            pass
        say(number, b"")

    async def listen(pipe: asyncio.StreamReader) -> None:
        while True:
            number, length = HEADER.unpack(await pipe.readexactly(HEADER.size))
            data = await pipe.readexactly(length)
            writer = writers[number]
            try:
                if data:
                    writer.write(data)
                    await writer.drain()
                else:
                    writers.pop(number).close()
            except OSError:
                pass  # The client went away; what else comes for it goes nowhere.

    pipe = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(pipe), sys.stdin)
    server = await asyncio.start_server(serve, "127.0.0.1", PORT)
    say(0, b"")
    try:
        await listen(pipe)
    except asyncio.IncompleteReadError:
        server.close()


if __name__ == "__main__":
    asyncio.run(relay())
