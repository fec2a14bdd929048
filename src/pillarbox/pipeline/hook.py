"""What the repository's hooks do: refuse a push that does not render, show the plan and the build of the others."""

from __future__ import annotations

import os
import pwd
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from pillarbox.pipeline import plan, spool
from pillarbox.pipeline.check import each
from pillarbox.pipeline.git import Repository
from pillarbox.pipeline.journal import follow
from pillarbox.pipeline.places import Places
from pillarbox.pipeline.publish import read
from pillarbox.system import environment
from pillarbox.system.errors import PillarboxError

#: A build says something at least this often, or the hook stops listening; the build goes on.
PATIENCE = 1800.0
#: After this long without a sign of the master the pusher gets a line about it.
SILENCE = 15.0


@dataclass(frozen=True)
class Update:
    """One line of what git passes to a hook: a ref and its value before and after."""

    old: str
    new: str
    ref: str

    @property
    def deletes(self) -> bool:
        """Whether the ref goes away."""
        return not self.new.strip("0")

    @property
    def creates(self) -> bool:
        """Whether the ref is new."""
        return not self.old.strip("0")


def updates(lines: Iterable[bytes]) -> tuple[Update, ...]:
    """What a hook reads on its standard input; a ref may be called by any bytes.

    Raises :class:`PillarboxError` for a line that git does not write.
    """
    return tuple(_update(os.fsdecode(line)) for line in (line.strip() for line in lines) if line)


def _update(line: str) -> Update:
    parts = line.split(None, 2)
    if len(parts) != 3:
        raise PillarboxError(
            f"expected a line `OLD NEW REF` on standard input, found {line!r}", hint="Let git run the hooks, by a push."
        )
    return Update(*parts)


def pre_receive(
    repository: Path, pushed: Iterable[Update], say: Callable[[str], None], *, branch: str = "main"
) -> tuple[PillarboxError, ...]:
    """Why a push is refused; nothing for one that may go in, whose plan ``say`` is given line by line.

    Only the branch that is deployed is looked at: it can neither be deleted nor rewritten, and must always render.
    """
    repo = Repository(repository)
    errors: list[PillarboxError] = []
    for update in pushed:
        if update.ref != f"refs/heads/{branch}":
            continue
        if update.deletes:
            errors.append(PillarboxError(f"{branch} is what is deployed; it cannot be deleted"))
        elif not update.creates and not repo.is_ancestor(update.old, update.new):
            errors.append(
                PillarboxError(
                    f"{branch} is what is deployed; its history cannot be rewritten",
                    hint=f"Merge or rebase onto {update.old[:12]}; to go back, push a revert.",
                )
            )
        else:
            errors += _show(repository, update, say)
    return tuple(errors)


def _show(repository: Path, update: Update, say: Callable[[str], None]) -> tuple[PillarboxError, ...]:
    """What is wrong with the revision, or its plan to ``say``. One process renders it once, for both."""
    try:
        revision = read(repository, update.new)
    except PillarboxError as error:
        return each(error)
    try:
        text = plan.make(repository, None if update.creates else update.old, revision).as_text()
    except PillarboxError as error:
        text = f"No plan: {error}"
    for line in text.rstrip().splitlines():
        say(line)
    return ()


def post_receive(
    places: Places, pushed: Iterable[Update], say: Callable[[str], None], *, patience: float = PATIENCE
) -> str:
    """Leave a note for the master, and pass its progress on to the pusher until the build ends.

    Returns how the build ended (``succeeded``, ``failed``, ``superseded``, ``interrupted``), ``pending`` when the
    master has not got to it, or an empty text when nothing that is deployed was pushed. Being interrupted here stops
    nothing: the master builds by itself.
    """
    update = next((item for item in pushed if item.ref == places.ref and not item.deletes), None)
    if update is None:
        return ""
    try:
        spool.leave(places.spool, update.new, pusher(places.repository, update.new))
    except OSError:
        say("The master has no spool here yet; it finds the push on the branch when it starts.")
    warned = [False]

    def idle(waited: float) -> None:
        if waited > SILENCE and not warned[0] and not begun[0]:
            warned[0] = True
            say("The master has not begun: another run goes on there, or it is down. The push is safe and comes next.")
            say("Waiting for it; Ctrl-C leaves, and stops nothing.")

    begun = [False]
    state = "pending"
    # From the beginning: a revision comes to this branch once, and the master may have begun before this hook did.
    for entry in follow(places.progress, update.new, patience=patience, idle=idle):
        begun[0] = begun[0] or "begin" in entry
        if "line" in entry:
            say(entry["line"])
        if "end" in entry:
            state = entry["end"]
    if state == "pending":
        say("Still not done; it goes on without this connection. See: pillarbox report")
    return state


def pusher(repository: Path, revision: str) -> str:
    """Who is pushing: the identity that the server gave the connection, else who committed."""
    for variable in (environment.USER.name, "GL_USERNAME", "GL_USER", "REMOTE_USER"):
        name = re.sub(r"[^\w@.+ <>-]", "", os.environ.get(variable, ""))
        if name:
            return name
    committer = Repository(repository).committer(revision)
    try:
        login = pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        login = str(os.getuid())
    return f"{committer} through {login}"
