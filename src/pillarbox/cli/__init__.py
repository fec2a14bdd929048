"""The command line: parse arguments, call one room, print.

Each command lives in a module of its own and is imported only when it is asked for, so that ``pillarbox inventory``
never waits for the Kubernetes client.
"""

from __future__ import annotations

import importlib
import logging
import os
import sys
from pathlib import Path
from typing import Any

import click

from pillarbox import __version__
from pillarbox.cli.output import print_error
from pillarbox.system import environment, logs
from pillarbox.system.errors import PillarboxError

log = logging.getLogger(__name__)

COMMANDS = {
    "backups": "List the backups that a master has.",
    "check": "Check the whole model: nodes, images and manifests.",
    "credentials": "Write the files with which clients reach what runs.",
    "deploy": "Apply a revision to the cluster in waves, gate on health, report.",
    "explain": "Show where a value comes from, layer by layer.",
    "hook": "What the model repository's git hooks run.",
    "images": "List the images of the model, or build them.",
    "inventory": "Render nodes of the model.",
    "lab": "Hosts as containers on this machine.",
    "lint": "Find what is doubtful in the model.",
    "manifests": "Render the Kubernetes manifests, or check the committed ones.",
    "plan": "Show what a change builds, rolls and alters.",
    "report": "Show the report of a run.",
    "secrets": "Make the secrets of a deployment.",
    "status": "Compare the cluster with the model.",
    "where": "Find the places that set a parameter.",
}


class Commands(click.Group):
    """A group whose commands are imported on first use."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = importlib.import_module(f"pillarbox.cli.{cmd_name}").command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, COMMANDS[name]) for name in self.list_commands(ctx)])

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Environment variables"):
            formatter.write_dl([(each.name, each.meaning.replace("`", "")) for each in environment.VARIABLES])


def _default_model() -> Path:
    here, published = Path("."), environment.ROOT.directory() / "published" / "current"
    # os.path, for not everybody on a master may look there.
    return published if not os.path.isdir("nodes") and os.path.isdir(published / "nodes") else here


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--model",
    envvar=environment.MODEL.name,
    type=click.Path(file_okay=False, path_type=Path),
    default=_default_model,
    help="The directory of the model (default: the current one; on a master, the model that it serves).",
)
@click.option(
    "-v",
    "--verbose",
    count=True,
    help="Say on standard error what is waited for and tried again; twice: each question and each git command.",
)
@click.version_option(__version__, prog_name="pillarbox")
@click.pass_context
def pillarbox(ctx: click.Context, model: Path, verbose: int) -> None:
    """One git repository of reclass metadata, turned into a running cloud."""
    logs.to_stderr(verbose)
    ctx.obj = model


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and exit: 0 for success, 1 for an error, 2 for wrong usage, 130 for Ctrl-C."""
    try:
        result: Any = pillarbox.main(args=arguments, prog_name="pillarbox", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        click.echo("Interrupted.", err=True)
        sys.exit(130)
    except PillarboxError as error:
        print_error(error)
        sys.exit(1)
    except BrokenPipeError:
        # The reader went away (`| head`); what it wanted it has.
        sys.stderr.close()
        sys.exit(0)
    except OSError as error:
        # A disk that is full, a directory that may not be written to: the machine's state, not a fault of the program.
        log.debug("what went wrong, and where:", exc_info=True)
        print_error(PillarboxError(error.strerror or str(error), file=error.filename))
        sys.exit(1)
    sys.exit(result if isinstance(result, int) else 0)
