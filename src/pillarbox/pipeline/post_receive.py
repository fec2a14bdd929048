"""The hook after a push went in: leave a note for the master, and show how the build goes.

A build waits for the note, so this loads little before it.
"""

from __future__ import annotations

import os
import pwd
import re
from collections.abc import Callable, Iterable
from pathlib import Path

from pillarbox.pipeline import spool
from pillarbox.pipeline.journal import follow
from pillarbox.pipeline.places import Places
from pillarbox.pipeline.update import Update
from pillarbox.system import environment

#: A build says something at least this often, or the hook stops listening; the build goes on.
PATIENCE = 1800.0
#: After this long without a sign of the master the pusher gets a line about it.
SILENCE = 15.0


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
        # Also the line that says for whom the master waits.
        begun[0] = True
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
    # Reading commits loads all that a revision consists of, and few pushes need it: git's own transports, no ssh.
    from pillarbox.pipeline.git import Repository

    committer = Repository(repository).committer(revision)
    try:
        login = pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        login = str(os.getuid())
    return f"{committer} through {login}"
