"""What was parsed and rendered before, on disk: keyed by content, safe to share between processes and to lose.

A key is a digest of everything that decides its value, the source of this room included, so a value is never stale.
Values are MessagePack, which cannot run code; the directory must be the user's own. Anything that goes wrong here
only makes a run slower.
"""

from __future__ import annotations

import hashlib
import os
import sqlite3
import threading
from functools import lru_cache
from pathlib import Path
from typing import Any

from pillarbox.system import environment

try:
    import msgpack  # type: ignore[import-untyped]
except ImportError:  # pragma: no cover - installed with Salt, which Pillarbox needs anyway
    msgpack = None

MAX_BYTES = 512 << 20
_BATCH = 2000
_CHECK = 8
MISS: Any = object()
# The driver may fail to decode its own message about a damaged file.
_DAMAGE = (sqlite3.Error, UnicodeDecodeError)


@lru_cache(maxsize=1)
def version() -> bytes:
    """A digest of the model's source: another version of it shares no entries."""
    total = hashlib.blake2b(digest_size=16)
    for file in sorted(Path(__file__).parents[1].rglob("*.py")):
        total.update(file.read_bytes())
    return total.digest()


def default_directory() -> Path | None:
    """``$PILLARBOX_CACHE``, or ``pillarbox`` in the user's cache directory; ``None`` where the cache is off.

    Raises :class:`VariableError` for a path that is not absolute.
    """
    if environment.CACHE.is_off():
        return None
    chosen = environment.CACHE.path()
    if chosen is not None:
        return chosen
    try:
        home = os.environ.get("XDG_CACHE_HOME") or Path("~/.cache").expanduser()
    except RuntimeError:
        return None
    return Path(home) / "pillarbox"


class Cache:
    """Entries in one SQLite file below ``directory``. Safe to use from several threads, and after a fork."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._lock = threading.Lock()
        self._connection: sqlite3.Connection | None = None
        self._process = 0
        self._pending: dict[bytes, bytes] = {}
        self._broken = msgpack is None

    def get(self, key: bytes) -> Any:
        """The value of ``key``, or :data:`MISS`."""
        with self._lock:
            blob = self._pending.get(key)
            if blob is None:
                connection = self._connect()
                if connection is None:
                    return MISS
                try:
                    row = connection.execute("SELECT value FROM entries WHERE key = ?", (key,)).fetchone()
                except _DAMAGE:
                    self._broken = True
                    return MISS
                if row is None:
                    return MISS
                blob = row[0]
        if not isinstance(blob, bytes) or _sum(key, blob[_CHECK:]) != blob[:_CHECK]:
            return MISS
        try:
            return unpack(blob[_CHECK:])
        except ValueError:
            return MISS

    def put(self, key: bytes, value: Any) -> None:
        """Keep ``value`` under ``key``, where MessagePack can hold it exactly."""
        packed = pack(value)
        if packed is None:
            return
        with self._lock:
            self._pending[key] = _sum(key, packed) + packed
            if len(self._pending) >= _BATCH:
                self._write()

    def flush(self) -> None:
        """Write what has been put."""
        with self._lock:
            if self._pending:
                self._write()

    def _write(self) -> None:
        connection = self._connect()
        pending, self._pending = self._pending, {}
        if connection is None:
            return
        try:
            with connection:
                connection.executemany("INSERT OR REPLACE INTO entries (key, value) VALUES (?, ?)", pending.items())
                self._trim(connection)
        except _DAMAGE:
            # Another process writes, the disk is full, the file is damaged: the next run fills it again.
            pass

    def _trim(self, connection: sqlite3.Connection) -> None:
        pages, size = (connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_count", "page_size"))
        free = connection.execute("PRAGMA freelist_count").fetchone()[0]
        if (pages - free) * size > MAX_BYTES:
            connection.execute("DELETE FROM entries WHERE rowid <= (SELECT (min(rowid) + max(rowid)) / 2 FROM entries)")

    def _connect(self) -> sqlite3.Connection | None:
        if self._process != os.getpid():
            # A connection does not survive a fork.
            self._connection = None
            self._process = os.getpid()
        if self._connection is None and not self._broken:
            try:
                self._connection = self._open()
            except (OSError, *_DAMAGE):
                self._broken = True
        return self._connection

    def _open(self) -> sqlite3.Connection | None:
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        status = self.directory.stat()
        if status.st_uid != os.getuid() or status.st_mode & 0o022:
            # Whoever else can write there could change results.
            self._broken = True
            return None
        file = self.directory / "model-1.sqlite"
        try:
            return _prepare(file)
        except (sqlite3.DatabaseError, UnicodeDecodeError) as error:
            if isinstance(error, sqlite3.OperationalError):
                raise
            file.unlink(missing_ok=True)
            return _prepare(file)


def pack(value: Any) -> bytes | None:
    """``value`` as MessagePack, or ``None`` where that cannot hold it exactly (dates, tuples, very large numbers)."""
    if msgpack is None:
        return None
    try:
        packed: bytes = msgpack.packb(value, strict_types=True)
    except (TypeError, ValueError, OverflowError, RecursionError):
        return None
    return packed


def unpack(packed: bytes) -> Any:
    """What :func:`pack` packed. Raises :class:`ValueError` for anything else."""
    try:
        return msgpack.unpackb(packed, strict_map_key=False)
    except msgpack.exceptions.UnpackException as error:
        raise ValueError(str(error)) from error


def _prepare(file: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(file, timeout=0.5, check_same_thread=False)
    # Losing the last entries in a power cut is fine.
    connection.execute("PRAGMA synchronous = OFF")
    connection.execute("CREATE TABLE IF NOT EXISTS entries (key BLOB UNIQUE NOT NULL, value BLOB NOT NULL)")
    return connection


def _sum(key: bytes, data: bytes) -> bytes:
    # With the key: a damaged index may lead to another entry, which is whole in itself.
    return hashlib.blake2b(data, digest_size=_CHECK, key=key[:64]).digest()


def digest(*parts: bytes) -> bytes:
    """A key from its parts; no two lists of parts give the same."""
    total = hashlib.blake2b(digest_size=16)
    for part in parts:
        total.update(len(part).to_bytes(8, "big"))
        total.update(part)
    return total.digest()
