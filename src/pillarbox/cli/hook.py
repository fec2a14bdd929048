"""``pillarbox hook``: what the model repository's git hooks run, with git's lines on standard input."""

from __future__ import annotations

import dataclasses
import os
import sys
from pathlib import Path

import click

from pillarbox.errors import raise_all
from pillarbox.pipeline import hook
from pillarbox.pipeline.places import Places


def _places() -> Places:
    """The master's directories, around the repository that git runs the hook in."""
    return dataclasses.replace(Places.of(), repository=Path(os.environ.get("GIT_DIR", ".")).resolve())


@click.group("hook")
def command() -> None:
    """What the model repository's git hooks run; each hook is a line that calls one of these."""


@command.command("pre-receive")
def pre_receive() -> None:
    """Refuse a push that does not render, naming file and line."""
    places = _places()
    raise_all(list(hook.pre_receive(places.repository, hook.updates(sys.stdin), branch=places.branch)))


@command.command("post-receive")
def post_receive() -> None:
    """Show the plan, tell the master, and show how the build goes until it ends.

    Git ignores how this ends: the push is in. Leaving with Ctrl-C stops nothing.
    """
    hook.post_receive(_places(), hook.updates(sys.stdin), click.echo)
