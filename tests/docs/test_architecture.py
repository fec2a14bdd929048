"""The architecture page is true: its rooms are the packages, its order is the import contract."""

from __future__ import annotations

import configparser
import re
from pathlib import Path

import pytest


@pytest.fixture(scope="module")
def page(repository: Path) -> str:
    return (repository / "docs" / "architecture.md").read_text(encoding="utf-8")


def _layers(repository: Path) -> list[str]:
    settings = configparser.ConfigParser()
    settings.read(repository / "setup.cfg")
    written = settings["importlinter:contract:flow"]["layers"]
    return [line.replace("pillarbox.", "") for line in written.splitlines() if line]


def test_the_rooms_are_the_packages(repository: Path, page: str) -> None:
    packages = {path.parent.name for path in (repository / "src" / "pillarbox").glob("*/__init__.py")}
    rows = page.partition("## The rooms")[2].partition("\n## ")[0]
    assert set(re.findall(r"^\| `(\w+)` \|", rows, re.MULTILINE)) == packages


def test_the_order_is_the_import_contract(repository: Path, page: str) -> None:
    block = page.partition("```text\n")[2].partition("```")[0]
    assert block.splitlines() == _layers(repository)


def test_every_package_stands_in_the_contract(repository: Path) -> None:
    rooms = {room.strip() for line in _layers(repository) for room in line.split("|")}
    assert rooms == {path.parent.name for path in (repository / "src" / "pillarbox").glob("*/__init__.py")}


def test_the_directories_exist(repository: Path, page: str) -> None:
    rows = page.partition("## The repository")[2].partition("\n## ")[0]
    for cell in re.findall(r"^\| ([^|]*) \|", rows, re.MULTILINE)[2:]:
        for directory in re.findall(r"`([^`]*)`", cell):
            assert (repository / directory).is_dir(), directory


def test_the_words_of_the_design_are_explained(repository: Path) -> None:
    glossary = (repository / "docs" / "glossary.md").read_text(encoding="utf-8")
    terms = re.findall(r"^(\S.*)\n    \S", glossary, re.MULTILINE)
    assert terms == sorted(terms, key=str.lower) and len(terms) == len(set(terms))
    for word in ("deployment", "revision", "cluster class", "host", "image node", "static parameter",
                 "dynamic parameter", "content key", "plan", "wave", "gate", "run", "report"):  # fmt: skip
        assert word in terms
