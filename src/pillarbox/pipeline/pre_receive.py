"""The hook before a push goes in: refuse what does not render, show the plan of what does, and what is doubtful."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from pathlib import Path

from pillarbox.pipeline import plan
from pillarbox.pipeline.check import doubts, each, wrong
from pillarbox.pipeline.git import Repository
from pillarbox.pipeline.publish import read
from pillarbox.pipeline.update import Update
from pillarbox.pipeline.versions import refuse_skips
from pillarbox.system.errors import PillarboxError


def pre_receive(
    repository: Path,
    pushed: Iterable[Update],
    say: Callable[[str], None],
    *,
    branch: str = "main",
    deployed: Mapping[str, Collection[str]] | None = None,
) -> tuple[PillarboxError, ...]:
    """Why a push is refused; nothing for one that may go in, whose plan ``say`` is given line by line.

    Only the branch that is deployed is looked at: it can neither be deleted nor rewritten, must always render, its
    hosts' versions must go together, and it skips none from those that hosts have, which may be at the revisions
    ``deployed``.
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
            errors += _show(repository, update, say, deployed or {})
    return tuple(errors)


def _show(
    repository: Path, update: Update, say: Callable[[str], None], deployed: Mapping[str, Collection[str]]
) -> tuple[PillarboxError, ...]:
    """What is wrong with the revision, or, to ``say``, its plan and what is doubtful. One process renders it once, for
    all of that."""
    try:
        revision = read(repository, update.new)
        for name, hosts in deployed.items():
            known = plan.known(repository, name)
            refuse_skips({host: node for host, node in known.items() if host in hosts}, revision)
    except PillarboxError as error:
        return each(error)
    if errors := wrong(revision):
        return errors
    try:
        text = plan.make(repository, None if update.creates else update.old, revision).as_text()
    except PillarboxError as error:
        text = f"No plan: {error}"
    for line in text.rstrip().splitlines():
        say(line)
    for doubt in doubts(revision):
        say(f"warning: {doubt}")
    return ()
