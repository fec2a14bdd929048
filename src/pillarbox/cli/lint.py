"""``pillarbox lint``: what is doubtful about the model."""

from __future__ import annotations

from pathlib import Path

import click

from pillarbox.cli.output import format_option, print_data
from pillarbox.cli.text import place, print_lines
from pillarbox.model import Inventory


@click.command("lint")
@format_option("text", "yaml", "json")
@click.pass_obj
def command(model: Path, output_format: str) -> int:
    """Find what is doubtful in the model: duplicate keys, unused classes, values that change nothing, and more.

    The exit code is 1 when something is found. A comment `# lint: ignore` or `# lint: ignore[rule]` hides a line.
    """
    findings = Inventory(model).lint()
    if output_format == "text":
        print_lines(f"{place(each.file, each.line or None)}: {each.rule}: {each.message}" for each in findings)
    else:
        print_data([each.as_dict() for each in findings], output_format)
    return 1 if findings else 0
