"""Places and values as commands print them for people, one line each."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import click
import yaml

WIDTH = 100


def print_lines(lines: Iterable[str]) -> None:
    """Print each on standard output."""
    for line in lines:
        click.echo(line)


def place(file: str, line: int | None) -> str:
    """``file:line``, or the file alone."""
    return file if line is None else f"{file}:{line}"


def short(value: Any) -> str:
    """A value on one line, cut to a width that terminals have, as YAML's flow style has it."""
    text = yaml.safe_dump(value, default_flow_style=True, width=10**6, sort_keys=False, allow_unicode=True)
    text = text.removesuffix("\n").removesuffix("\n...").replace("\n", " ")
    return text if len(text) <= WIDTH else f"{text[: WIDTH - 1]}…"
