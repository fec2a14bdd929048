"""``pillarbox check``: everything that is wrong with a model, at once."""

from __future__ import annotations

from pathlib import Path

import click

from pillarbox.cli.output import format_option, print_data, print_warning
from pillarbox.pipeline.check import check
from pillarbox.system.errors import raise_all


@click.command("check")
@format_option("text", "json")
@click.pass_obj
def command(model: Path, output_format: str) -> int:
    """Check that every node renders, every image can be built, every manifest stands, and versions of hosts go
    together.

    Values that a schema of a formula refuses are errors; keys that none knows, as `pillarbox lint` finds them, are
    warnings. The model repository's hook asks the same of every push.
    """
    errors, doubtful = check(model)
    for doubt in doubtful:
        print_warning(doubt)
    if output_format == "json":
        print_data([error.as_dict() for error in errors], "json")
        return 1 if errors else 0
    raise_all(list(errors))
    click.echo("The model is sound.")
    return 0
