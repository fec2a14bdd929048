"""The table of environment variables has every one that is read, once."""

from __future__ import annotations

import re
from pathlib import Path

from pillarbox.system import environment

NAME = re.compile(r"\bPILLARBOX_[A-Z][A-Z_]*[A-Z]\b")
#: Click's own, for completion; README names it.
CLICK = {"PILLARBOX_COMPLETE"}


def _named(repository: Path) -> set[str]:
    found = set()
    for folder in ("src", "ci", "tests"):
        for path in (repository / folder).rglob("*"):
            if path.is_file() and ".egg-info" not in str(path) and "__pycache__" not in str(path):
                found |= set(NAME.findall(path.read_text(encoding="utf-8", errors="ignore")))
    return found - CLICK


def test_the_table_has_every_variable_once(repository: Path) -> None:
    page = (repository / "docs" / "environment.md").read_text(encoding="utf-8")
    rows = [NAME.findall(row) for row in re.findall(r"^\| (`PILLARBOX[^|]*) \|", page, re.MULTILINE)]
    listed = [name for row in rows for name in row]
    assert len(listed) == len(set(listed))
    assert set(listed) == _named(repository)


def test_the_page_shows_the_table_of_the_code(repository: Path) -> None:
    page = (repository / "docs" / "environment.md").read_text(encoding="utf-8").partition("\n## ")[0]
    rows = [
        tuple(cell.strip() for cell in row.strip("|").split("|")) for row in re.findall(r"^\| `.*$", page, re.MULTILINE)
    ]
    literal = re.compile(r"[\w/-]+")
    assert rows == [
        (f"`{each.name}`", each.meaning, f"`{each.default}`" if literal.fullmatch(each.default) else each.default)
        for each in environment.VARIABLES
    ]
