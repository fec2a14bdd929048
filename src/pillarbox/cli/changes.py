"""What ``pillarbox inventory --diff`` prints."""

from __future__ import annotations

from pathlib import Path

import click

from pillarbox.cli.output import print_data
from pillarbox.cli.text import short
from pillarbox.model import Inventory
from pillarbox.model.ask.diff import DifferenceKind


def show_changes(model: Path, revision: str, node: str | None, output_format: str) -> int:
    """Print which values differ from ``revision``, as ``text``, ``json`` or ``yaml``.

    Returns the exit code: 1 when something differs, as ``diff`` has it. Raises what does not render.
    """
    changes = Inventory(model).changes_since(Inventory(model, revision=revision), node)
    if output_format != "text":
        found = [change.as_dict() for change in changes]
        print_data(found, output_format)
        return 1 if found else 0
    current, count = None, 0
    for change in changes:
        count += 1
        if change.node != current:
            current = change.node
            click.echo(current)
        name = ":".join(change.path) or "the node"
        if change.kind is not DifferenceKind.ADDED:
            click.echo(f"  - {name}: {short(change.before)}")
        if change.kind is not DifferenceKind.REMOVED:
            click.echo(f"  + {name}: {short(change.after)}")
    return 1 if count else 0
