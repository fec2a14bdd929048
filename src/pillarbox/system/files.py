"""Writing files, links and directories: whole or not at all, whatever ends the process or the machine meanwhile.

What is written lies beside its place under a name that starts with ``.new-`` until it is complete and on the disk;
then it takes its place in one step. Whoever is killed in between leaves such a name behind and nothing else.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

#: What is not complete yet begins like this.
NEW = ".new-"
_OLD = ".old-"


@contextmanager
def replacing(file: Path, *, mode: int = 0o644) -> Iterator[IO[bytes]]:
    """A stream whose bytes become ``file`` when the block ends, and nothing when it raises.

    ``mode`` is the file's mode, whatever the umask; until it is complete nobody but the owner may read it. A symbolic
    link of that name is replaced, not followed. Raises ``OSError``.
    """
    descriptor, scratch = tempfile.mkstemp(prefix=NEW, dir=file.parent)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            yield stream
            stream.flush()
            os.fchmod(descriptor, mode)
            os.fsync(descriptor)
        os.replace(scratch, file)
    except BaseException:
        Path(scratch).unlink(missing_ok=True)
        raise
    _sync(file.parent)


def write(file: Path, content: str | bytes, *, mode: int = 0o644) -> None:
    """Make ``content`` (text goes in UTF-8, its line ends as they are) what ``file`` holds. Raises ``OSError``."""
    with replacing(file, mode=mode) as stream:
        stream.write(content.encode() if isinstance(content, str) else content)


def write_json(file: Path, data: Any, *, mode: int = 0o644, indent: int | None = None) -> None:
    """Make ``data`` what ``file`` holds, as JSON. Raises ``OSError``, and ``TypeError`` for what JSON cannot say."""
    write(file, json.dumps(data, indent=indent), mode=mode)


def adopt(made: Path, file: Path) -> None:
    """Give ``made``, a file that a program has written to its end on the same file system, the place of ``file``.

    Raises ``OSError``.
    """
    _sync(made)
    os.replace(made, file)
    _sync(file.parent)


def link(file: Path, target: str | Path) -> None:
    """Make ``file`` a symbolic link to ``target``, in the place of whatever file or link it was. Raises ``OSError``."""
    # In a directory of its own: a link is made under a name, not for an open file.
    scratch = tempfile.mkdtemp(prefix=NEW, dir=file.parent)
    try:
        os.symlink(target, f"{scratch}/link")
        os.replace(f"{scratch}/link", file)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    _sync(file.parent)


@contextmanager
def making(directory: Path, *, mode: int = 0o755) -> Iterator[Path]:
    """An empty directory that becomes ``directory`` when the block ends, with all that is in it then; nothing when it
    raises. Its parent is made, for the owner only, where it is missing.

    Where ``directory`` is there already by then (somebody else was as fast), that one stays: the name has to say what
    is in it. Raises ``OSError``.
    """
    directory.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    scratch = Path(tempfile.mkdtemp(prefix=NEW, dir=directory.parent))
    try:
        yield scratch
        scratch.chmod(mode)
        _sync_tree(scratch)
        try:
            os.rename(scratch, directory)
        except OSError:
            if not directory.is_dir():
                raise
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    _sync(directory.parent)


def remove(directory: Path) -> None:
    """Remove a directory with all that is in it: from the first moment on nobody finds half of it under its name."""
    doomed = Path(tempfile.mkdtemp(prefix=_OLD, dir=directory.parent))
    with suppress(FileNotFoundError):
        os.rename(directory, doomed / "old")
    shutil.rmtree(doomed, ignore_errors=True)


def sweep(directory: Path) -> None:
    """Clear away what writers of ``directory`` left behind who were ended meanwhile; fine where it is not there.

    For whoever knows that nobody writes there now.
    """
    with suppress(FileNotFoundError):
        for path in [path for path in directory.iterdir() if path.name.startswith((NEW, _OLD))]:
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)


def _sync_tree(directory: Path) -> None:
    folders = [directory, *(path for path in directory.rglob("*") if path.is_dir() and not path.is_symlink())]
    # Only files have content to lose: neither through a link nor into a pipe or device.
    regular = [path for folder in folders for path in folder.iterdir() if path.is_file() and not path.is_symlink()]
    # Together: the file system writes its journal once for many that ask at the same time, and once for each else.
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(_sync, [*regular, *reversed(folders)]))


def _sync(path: Path) -> None:
    """Have a file's content, or the names in a directory, on the disk."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except PermissionError:
        # One may write to a directory that one may not read; the file in it is on the disk.
        return
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
