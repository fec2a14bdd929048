"""Programs whose input or output is larger than memory may be."""

from __future__ import annotations

import shlex
import subprocess
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import IO, Any

from pillarbox.system.command import CommandError

_CHUNK = 1 << 20
#: How much of what a program prints is repeated in an error.
_KEPT = 2000


def output(arguments: Sequence[str]) -> Iterator[bytes]:
    """What a program writes to standard output, as it comes. Raises :class:`CommandError` when it fails."""
    with (
        tempfile.TemporaryFile() as errors,
        _running(arguments, errors, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=errors) as process,
    ):
        assert process.stdout is not None
        while chunk := process.stdout.read(_CHUNK):
            yield chunk


def feed(arguments: Sequence[str], content: Iterable[bytes]) -> str:
    """Run a program that reads ``content``; returns what it prints. Raises :class:`CommandError` when it fails."""
    with tempfile.TemporaryFile() as printed:
        with _running(arguments, printed, stdin=subprocess.PIPE, stdout=printed, stderr=printed) as process:
            assert process.stdin is not None
            # One that reads no more says why when it ends.
            with suppress(BrokenPipeError):
                for chunk in content:
                    process.stdin.write(chunk)
                process.stdin.close()
        printed.seek(0)
        return printed.read().decode("utf-8", "replace")


@contextmanager
def _running(arguments: Sequence[str], printed: IO[bytes], **streams: Any) -> Iterator[subprocess.Popen[bytes]]:
    """A process that has ended well when the block has; whatever else ends the block, ends the process."""
    try:
        process = subprocess.Popen(arguments, **streams)
    except OSError as error:
        raise CommandError(f"`{shlex.join(arguments)}` cannot be run: {error.strerror}") from error
    try:
        yield process
        code = process.wait()
    except BaseException:
        process.kill()
        raise
    finally:
        for stream in (process.stdin, process.stdout):
            if stream is not None:
                with suppress(OSError):
                    stream.close()
        process.wait()
    if code:
        printed.seek(0)
        text = printed.read().decode("utf-8", "replace").strip()[-_KEPT:]
        raise CommandError(f"`{shlex.join(arguments)}` exited with {code}{': ' + text if text else ''}")
