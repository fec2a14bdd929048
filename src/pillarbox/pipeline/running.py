"""A run while it goes on: it is written down, however it ends."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from pillarbox.pipeline.places import Places
from pillarbox.pipeline.record import Run, RunKind, Runs, RunState
from pillarbox.system.errors import PillarboxError
from pillarbox.system.progress import Progress


@contextmanager
def recorded(
    places: Places, kind: RunKind, revision: str, by: str, subject: str, progress: Progress, *, dry_run: bool = False
) -> Iterator[Run]:
    """The record of a run that the block makes; how the block ends is how the run does.

    A :class:`PillarboxError` ends it as failed and is not raised; anything else is, once it is written down.
    """
    run = Runs(places.runs).start(kind, revision, by, subject)
    run.dry_run = dry_run
    try:
        yield run
    except PillarboxError as error:
        state, text = RunState.FAILED, str(error)
    except BaseException as error:
        stopped = isinstance(error, KeyboardInterrupt | SystemExit)
        text = f"interrupted; {kind} again to carry on" if stopped else f"{type(error).__name__}: {error}"
        run.durations = dict(progress.durations)
        run.finish(RunState.INTERRUPTED if stopped else RunState.FAILED, text)
        raise
    else:
        state, text = RunState.SUCCEEDED, ""
    run.durations = dict(progress.durations)
    run.finish(state, text)
