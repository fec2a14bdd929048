"""What the pages tell a reader to do, done: files written, commands run, their output compared."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.docs.pages import DOCS, Command, File, Reader, matches, steps

#: Pages whose reader stands in a clone of the model, and those whose reader stands beside one.
IN_THE_MODEL = (
    "concepts.md",
    "how-to/service.md",
    "how-to/release.md",
    "how-to/host.md",
    "how-to/topology.md",
    "how-to/network.md",
    "how-to/policies.md",
    "how-to/own-servers.md",
)
BESIDE_IT = ("tutorial/first-cloud.md", "tutorial/own-service.md")
#: Pages with nothing that runs here, and why. Single commands elsewhere (`console elsewhere`) are those of servers;
#: tests/story/test_servers.py runs those of own-servers.md.
NOTHING_HERE = {
    "operations.md": "a running deployment's commands",
    "how-to/backup.md": "what is done to a deployment that runs; tests/story/test_backup.py does it",
    "how-to/rotate-secrets.md": "a push to a deployment that runs; tests/story rotates each secret",
    "../CONTRIBUTING.md": "the test suite itself",
}


@pytest.mark.parametrize("name", [*IN_THE_MODEL, *BESIDE_IT])
def test_a_reader_gets_what_the_page_says(name: str, clone: Path, commands: dict[str, str]) -> None:
    reader = Reader(clone if name in IN_THE_MODEL else clone.parent, commands)
    done = 0
    for step in steps(DOCS / name):
        if isinstance(step, File) or step.where == "":
            if isinstance(step, File) and name in BESIDE_IT:
                step = File(step.line, f"{clone}/{step.path}", step.text)
            reader.do(step)
            done += 1
    assert done


def test_every_page_with_commands_is_followed() -> None:
    pages = {str(page.relative_to(DOCS)) for page in DOCS.rglob("*.md") if "generated" not in page.parts}
    with_commands = {page for page in pages if any(isinstance(step, Command) for step in steps(DOCS / page))}
    assert with_commands <= {*IN_THE_MODEL, *BESIDE_IT, *NOTHING_HERE}
    for page in NOTHING_HERE:
        assert {step.where for step in steps(DOCS / page)} <= {"elsewhere", ""}


@pytest.mark.parametrize(
    ("expected", "printed", "same"),
    [
        ("one\n", "one\n", True),
        ("one\n", "one\ntwo\n", False),
        ("one\n…\n", "one\ntwo\n", True),
        ("…two…\n", "one\ntwo\nthree\n", True),
        ("…four…\n", "one\ntwo\nthree\n", False),
        ("a.c\n", "abc\n", False),
    ],
)
def test_output_is_compared_to_the_letter(expected: str, printed: str, same: bool) -> None:
    assert matches(expected, printed) is same
