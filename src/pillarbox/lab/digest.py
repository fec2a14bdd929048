"""Content keys of what the lab keeps between runs."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path


def of_text(*parts: str) -> str:
    """A short key of several texts."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(f"{len(part.encode())}:".encode() + part.encode())
    return digest.hexdigest()[:16]


def of_files(base: Path, paths: Iterable[Path]) -> str:
    """A short key of files: their names below ``base``, contents and executable bits."""
    digest = hashlib.sha256()
    for path in sorted(_files(paths)):
        content = path.read_bytes()
        executable = "x" if path.stat().st_mode & 0o100 else "-"
        digest.update(f"{path.relative_to(base)}\0{executable}{len(content)}\0".encode() + content)
    return digest.hexdigest()[:16]


def _files(paths: Iterable[Path]) -> Iterable[Path]:
    for path in paths:
        if path.is_dir():
            yield from (each for each in path.rglob("*") if each.is_file())
        elif path.is_file():
            yield path
