"""How commands print: for a person on a terminal, or as JSON or YAML for a program."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, TypeVar

import click

from pillarbox.system.errors import ErrorGroup, PillarboxError
from pillarbox.system.yaml_text import dump

Command = TypeVar("Command", bound=Callable[..., Any])


def format_option(*formats: str, default: str | None = None) -> Callable[[Command], Command]:
    """The ``--format`` option of a command; the first format is the default unless another is named."""
    return click.option(
        "--format",
        "output_format",
        type=click.Choice(formats),
        default=default or formats[0],
        show_default=True,
        help="How to print the result.",
    )


def print_data(data: Any, output_format: str) -> None:
    """Print plain data as ``json`` or ``yaml`` on standard output."""
    if output_format == "json":
        click.echo(json.dumps(data, indent=2, ensure_ascii=False, default=str))
    else:
        click.echo(dump(data), nl=False)


def print_error(error: PillarboxError) -> None:
    """Print an error, or each of a group, on standard error: place, message and hint."""
    for each in error.errors if isinstance(error, ErrorGroup) else (error,):
        _print(click.style("error", fg="red", bold=True), each)


def print_warning(error: PillarboxError) -> None:
    """Print what is doubtful and fails nothing, on standard error."""
    _print(click.style("warning", fg="yellow", bold=True), error)


def _print(word: str, error: PillarboxError) -> None:
    place = f"{error.place}: " if error.place else ""
    click.echo(f"{word}: {place}{error.message}", err=True)
    if error.hint:
        click.echo(f"  {error.hint}", err=True)
