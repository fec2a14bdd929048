"""The table of environment variables has every one that is read, once."""

from __future__ import annotations

import re
from pathlib import Path

NAME = re.compile(r"\bPILLARBOX_[A-Z][A-Z_]*[A-Z]\b")
#: Click's own, for completion; README names it.
CLICK = {"PILLARBOX_COMPLETE"}


def _named(repository: Path) -> set[str]:
    found = set()
    for folder in ("src", "ci", "tests"):
        for path in (repository / folder).rglob("*"):
            if path.is_file() and ".egg-info" not in str(path) and "__pycache__" not in str(path):
                found |= set(NAME.findall(path.read_text(encoding="utf-8", errors="ignore")))
    places = (repository / "src" / "pillarbox" / "pipeline" / "places.py").read_text(encoding="utf-8")
    if 'f"PILLARBOX_{' in places:
        found |= {f"PILLARBOX_{name.upper()}" for name in ("root", "state", "repository", "branch")}
    return found - CLICK


def test_the_table_has_every_variable_once(repository: Path) -> None:
    page = (repository / "docs" / "environment.md").read_text(encoding="utf-8")
    rows = [NAME.findall(row) for row in re.findall(r"^\| (`PILLARBOX[^|]*) \|", page, re.MULTILINE)]
    listed = [name for row in rows for name in row]
    assert len(listed) == len(set(listed))
    assert set(listed) == _named(repository)


def test_the_cache_of_builds_is_no_cache_of_nodes(repository: Path) -> None:
    readers = {
        name: {
            path.name
            for path in (repository / "src").rglob("*.py")
            if re.search(rf"\b{name}\b", path.read_text(encoding="utf-8"))
        }
        for name in ("PILLARBOX_CACHE", "PILLARBOX_BUILD_CACHE")
    }
    assert not readers["PILLARBOX_CACHE"] & readers["PILLARBOX_BUILD_CACHE"]
