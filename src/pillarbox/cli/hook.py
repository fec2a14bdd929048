"""``pillarbox hook``: what the model repository's git hooks run, with git's lines on standard input."""

from __future__ import annotations

import dataclasses
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from pillarbox.pipeline.places import Places
from pillarbox.pipeline.update import updates
from pillarbox.system.errors import PillarboxError, raise_all

PATIENCE = 600
"""Seconds that a pushed model may take to render."""


def _places() -> Places:
    """The master's directories, around the repository that git runs the hook in."""
    return dataclasses.replace(Places.of(), repository=Path(os.environ.get("GIT_DIR", ".")).resolve())


class _TooLong(BaseException):
    """Not an Exception: whoever collects errors on the way must not take it for one of them."""


@contextmanager
def _within(seconds: int) -> Iterator[None]:
    """Refuse what takes longer: a pushed model may hold a regular expression that never ends."""

    def stop(*_: object) -> None:
        raise _TooLong

    signal.signal(signal.SIGALRM, stop)
    signal.alarm(seconds)
    try:
        yield
    except _TooLong:
        raise PillarboxError(
            f"the model was not rendered within {seconds} seconds",
            hint="Look for regular expressions that backtrack, and for links that multiply directories.",
        ) from None
    finally:
        signal.alarm(0)


@click.group("hook")
def command() -> None:
    """What the model repository's git hooks run; each hook is a line that calls one of these."""


@command.command("pre-receive")
def refuse_or_plan() -> None:
    """Refuse a push that does not render, naming file and line; show the plan of one that does."""
    from pillarbox.pipeline import deployed
    from pillarbox.pipeline.pre_receive import pre_receive

    places = _places()
    with _within(PATIENCE):
        pushed, at = updates(sys.stdin.buffer), deployed.noted(places)
        raise_all(list(pre_receive(places.repository, pushed, click.echo, branch=places.branch, deployed=at)))


@command.command("post-receive")
def follow() -> None:
    """Leave a note for the master, and show how the build goes until it ends.

    Git ignores how this ends: the push is in. Leaving with Ctrl-C stops nothing.
    """
    from pillarbox.pipeline.post_receive import post_receive

    post_receive(_places(), updates(sys.stdin.buffer), click.echo)
