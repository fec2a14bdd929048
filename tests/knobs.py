"""The knobs of the reference model."""

from __future__ import annotations

from pathlib import Path

FILE = "classes/cluster/lab/init.yml"


def turn(model: Path, line: str, other: str) -> None:
    """Put another line in the place of one, which the knobs of a copy of the reference model must have once."""
    file = model / FILE
    text = file.read_text()
    assert text.count(line) == 1
    file.write_text(text.replace(line, other))
