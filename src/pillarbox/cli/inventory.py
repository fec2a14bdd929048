"""``pillarbox inventory``: what reclass makes of the nodes."""

from __future__ import annotations

from pathlib import Path

import click
from click.core import ParameterSource
from click.shell_completion import CompletionItem

from pillarbox.cli.output import format_option, print_data
from pillarbox.model import Inventory
from pillarbox.system.errors import PillarboxError


def complete_node(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Node names for shell completion; none while the model cannot be read."""
    model = ctx.find_root().params.get("model") or Path(".")
    try:
        nodes = Inventory(model).nodes
    except PillarboxError:
        return []
    return [CompletionItem(name) for name in nodes if name.startswith(incomplete)]


@click.command("inventory")
@click.argument("node", required=False, shell_complete=complete_node)
@click.option("--diff", "revision", metavar="REV", help="Show only what differs from this git revision.")
@format_option("yaml", "json", "text")
@click.pass_context
def command(ctx: click.Context, node: str | None, revision: str | None, output_format: str) -> int:
    """Render NODE, or every node of the model.

    Secrets stay the PGP blocks that the model holds. With --diff, the exit code is 1 when something differs.
    """
    model: Path = ctx.obj
    if revision is not None:
        from pillarbox.cli.changes import show_changes

        given = ctx.get_parameter_source("output_format") is not ParameterSource.DEFAULT
        return show_changes(model, revision, node, output_format if given else "text")
    if output_format == "text":
        raise click.UsageError("Nodes print as yaml or json; text is for --diff.")
    inventory = Inventory(model)
    if node is not None:
        print_data(inventory.node(node).as_dict(), output_format)
    else:
        print_data({each.name: each.as_dict() for each in inventory.all()}, output_format)
    return 0
