"""``pillarbox where``: the places that set a parameter."""

from __future__ import annotations

from pathlib import Path

import click

from pillarbox.cli.inventory import complete_node
from pillarbox.cli.output import format_option, print_data
from pillarbox.cli.text import place, print_lines, short
from pillarbox.model import Inventory


@click.command("where")
@click.argument("wanted")
@click.option("--node", help="Search only the files that this node uses.", shell_complete=complete_node)
@format_option("text", "yaml", "json")
@click.pass_obj
def command(model: Path, wanted: str, node: str | None, output_format: str) -> int:
    """Show the places that set the parameter WANTED (a path, a:b:c) or write the value WANTED.

    WANTED may hold * and ?. The exit code is 1 when there is no such place.
    """
    places = Inventory(model).where(wanted, node)
    if output_format == "text":
        print_lines(
            f"{place(each.file, each.line)}: {each.section}:{':'.join(each.path)}: {short(each.value)}"
            for each in places
        )
    else:
        print_data(
            [
                {
                    "file": each.file,
                    "line": each.line,
                    "section": each.section.value,
                    "path": list(each.path),
                    "value": each.value,
                }
                for each in places
            ],
            output_format,
        )
    if not places:
        hint = "" if "*" in wanted or "?" in wanted else f"; a path is a whole one, or try '*{wanted}*'"
        click.echo(f"no place sets or holds {wanted}{hint}", err=True)
    return 0 if places else 1
