"""Plain English: words in senses that a reader has to guess are not in the project, nor in what it prints.

The list is small on purpose: what was found here before, with what to write instead. It is about words that have a
plain synonym, not about taste.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

PLACES = ("src", "formulas", "classes", "nodes", "ci", "images", "docs", "README.md", "CONTRIBUTING.md", "Makefile")
GENERATED = re.compile(r"\.egg-info/|/__pycache__/|docs/generated/|/secrets\.yml$")

WORDS = {
    r"told": "say what is reported, printed or known, and by whom",
    r"tells? (?:of|the same)|tells? it|telling": "report, show, say",
    r"said": "what is printed, written or set",
    r"borne": "accepted, survived",
    r"mend(?:s|ed|ing)?": "repair, correct",
    r"lent|lends?": "name what is given: files, settings, an address",
    r"anew": "again",
    r"forgiven|forgives?": "no error, ignored",
    r"every trace|trace away": "remove all of it",
    r"(?:leaves?|left) word|word of a|knows? no word": "a note, a message",
    r"comes? to be": "is made",
    r"shall": "must, or leave it out",
    r"obeys?": "follows; a value matches a schema",
    r"amiss|asunder|hence|thereof|whence|lest|nought|naught|wherein": "a plain word",
}
ODD = {re.compile(rf"\b(?:{words})\b", re.IGNORECASE): instead for words, instead in WORDS.items()}


def _texts(repository: Path) -> Iterator[tuple[str, list[str]]]:
    for place in PLACES:
        root = repository / place
        for path in sorted(root.rglob("*")) if root.is_dir() else [root]:
            name = str(path.relative_to(repository))
            if path.is_file() and not GENERATED.search(f"/{name}"):
                try:
                    yield name, path.read_text(encoding="utf-8").splitlines()
                except UnicodeDecodeError:
                    continue  # no text


def test_words_are_used_in_their_usual_sense(repository: Path) -> None:
    found = [
        f"{name}:{number}: {match[0]!r}: {instead}"
        for name, lines in _texts(repository)
        for number, line in enumerate(lines, 1)
        for pattern, instead in ODD.items()
        if (match := pattern.search(line))
    ]
    assert found == [], "\n".join(found)


@pytest.mark.parametrize(
    ("line", "odd"),
    [
        ("Every error is told.", True),
        ("a file to mend", True),
        ("an amended recommendation, blended", False),
        ("Word of a push", True),
        ("the word of the day", False),
        ("tells of a change", True),
        ("it tells which", False),
    ],
)
def test_the_list_means_words_not_parts_of_them(line: str, odd: bool) -> None:
    assert any(pattern.search(line) for pattern in ODD) is odd
