"""The built documentation: no broken link, nothing fetched from elsewhere, everything in it that the code has."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from pillarbox.cli import COMMANDS

FETCHED = re.compile(r"<(?:script|link|img|iframe|source)\b[^>]*?(?:src|href)=\"([^\"]*)\"")
STYLE = re.compile(r"(?:url\(|@import)\s*[\"']?((?:https?:)?//[^\"')]*)")
LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)")
GENERATED = "generated/"


def _generator() -> Any:
    """`docs/generate.py`, which is no package."""
    path = Path(__file__).resolve().parents[2] / "docs" / "generate.py"
    spec = importlib.util.spec_from_file_location("generate", path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


generate = _generator()


def test_pages_fetch_nothing_from_elsewhere(site: Path) -> None:
    pages = list(site.rglob("*.html"))
    assert len(pages) > 20
    for page in pages:
        elsewhere = [
            found for found in FETCHED.findall(page.read_text()) if found.startswith(("http:", "https:", "//"))
        ]
        assert elsewhere == [], page
    for style in site.rglob("*.css"):
        assert STYLE.findall(style.read_text()) == [], style


def test_every_command_is_in_the_reference(site: Path) -> None:
    page = (site / "generated" / "commands.html").read_text()
    for name in COMMANDS:
        assert f"pillarbox {name}" in page


def test_every_formula_with_a_schema_is_in_the_reference(site: Path, repository: Path) -> None:
    index = (site / "generated" / "formulas" / "index.html").read_text()
    for schema in (repository / "formulas").glob("*/schemas/*.yml"):
        formula = schema.parent.parent.name
        assert f'href="{formula}/README.html"' in index, f"{formula} has a schema and no README"
        assert "Keys of <code" in (site / "generated" / "formulas" / formula / "README.html").read_text()


def _texts(repository: Path) -> list[Path]:
    """Every page that the repository holds, outside what is generated and installed."""
    found = [*repository.glob("*.md")]
    for folder in ("docs", "formulas", "src", "ci", "tests", "benchmarks", "images"):
        found += (repository / folder).rglob("*.md")
    return [path for path in found if GENERATED not in str(path) and ".egg-info" not in str(path)]


def test_links_between_files_lead_somewhere(repository: Path) -> None:
    broken = []
    for page in _texts(repository):
        for link in LINK.findall(page.read_text(encoding="utf-8")):
            target = link.partition("#")[0]
            if not target or "://" in target or GENERATED in target:
                continue  # to a heading: Sphinx checks it; elsewhere: below; generated: only the built site has it
            if not (page.parent / target).exists():
                broken.append(f"{page.relative_to(repository)}: {link}")
    assert broken == []


def test_links_elsewhere_are_encrypted(repository: Path) -> None:
    for page in _texts(repository):
        assert re.findall(r"\]\(http://", page.read_text(encoding="utf-8")) == [], page


@pytest.mark.parametrize("name", ["README.md", "docs/index.md"])
def test_the_first_pages_name_the_two_commands(repository: Path, name: str) -> None:
    text = (repository / name).read_text()
    if name == "README.md":
        assert re.search(r"^ {4}make lab$", text, re.MULTILINE)
        assert re.search(r"^ {4}make test\b", text, re.MULTILINE)
    assert "tutorial/first-cloud.md" in text


def test_every_pillar_key_says_what_it_means(repository: Path) -> None:
    bare = [
        f"{schema.relative_to(repository)}: {path}"
        for schema in sorted((repository / "formulas").glob("*/schemas/*.yml"))
        for path, _, meaning in generate.keys(yaml.safe_load(schema.read_text(encoding="utf-8")))
        if not meaning.partition("Default:")[0].removesuffix("Required.").strip()
        and not path.endswith(("[]", "<name>"))
    ]
    assert bare == []
