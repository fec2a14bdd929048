"""One run at a time: the pipeline's lock. It says for whom somebody waits, and for how long already."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from pillarbox.pipeline.places import Places
from pillarbox.pipeline.record import Runs, RunState
from pillarbox.system import locks
from pillarbox.system.progress import Progress, elapsed


@contextmanager
def alone(places: Places, progress: Progress) -> Iterator[None]:
    """Hold the pipeline's lock for the block. Runs whose process died are marked as interrupted."""
    with ExitStack() as wait:

        def waiting() -> None:
            text = f"waiting for {holder(places)}"
            progress.step(text)
            wait.enter_context(progress.waiting(text))

        with locks.held(places.lock, waiting=waiting):
            wait.close()
            Runs(places.runs).close_stale()
            yield


def holder(places: Places) -> str:
    """Who holds the lock, in words: the run that goes on, where one is recorded, and the process."""
    owner = locks.owner(places.lock)
    process = f"process {owner.process}, for {elapsed(time.time() - owner.since)}" if owner else "another command"
    run = Runs(places.runs).last(state=RunState.RUNNING)
    if run is None:
        return f"what holds {places.lock} ({process})"
    return f"{run.kind} {run.id}, asked by {run.by or 'nobody known'} ({process})"
