"""From a pushed revision to images in the registry. What the master serves is left alone: that is for a deploy."""

from __future__ import annotations

import shutil
import tarfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from pillarbox.images import ImageSpec, stock
from pillarbox.images import plan as image_plan
from pillarbox.images.builder import PATIENCE, Built
from pillarbox.pipeline import publish, spool
from pillarbox.pipeline.alone import alone
from pillarbox.pipeline.errors import PipelineError
from pillarbox.pipeline.git import Repository
from pillarbox.pipeline.journal import Journal, tee
from pillarbox.pipeline.places import Places
from pillarbox.pipeline.record import ImageRecord, ImageState, Run, RunKind, Runs, RunState
from pillarbox.revision import Revision
from pillarbox.system import files
from pillarbox.system.engine import Engine
from pillarbox.system.errors import Interrupted, PillarboxError, Unavailable
from pillarbox.system.progress import SILENT, Progress
from pillarbox.system.waiting import Patience

#: A build whose process dies this often is not tried again unasked.
ATTEMPTS = 3
#: Seconds until a build that waits for what was away is taken up again: so many at first, twice as many each time, and
#: never more than the longest.
AGAIN, LONGEST = 10.0, 300.0


class Builder(Protocol):
    """Builds images somewhere. ``tree`` has the revision's formulas and image files."""

    def __call__(
        self, specs: Mapping[str, ImageSpec], tree: Path, revision: Revision, progress: Progress
    ) -> image_plan.Results: ...


def on_this_machine(parallel: int = image_plan.PARALLEL) -> Builder:
    """A builder that uses the container engine here."""

    def build(specs: Mapping[str, ImageSpec], tree: Path, revision: Revision, progress: Progress) -> image_plan.Results:
        engine = Engine(patience=Patience(PATIENCE, progress.step))
        return image_plan.build_all(
            specs.values(), tree, engine=engine, progress=progress, parallel=parallel, revision=revision.name
        )

    return build


@dataclass(frozen=True)
class Pending:
    """A revision that is pushed and not dealt with; ``run`` is the one that waits to be taken up again, if there is."""

    revision: str
    run: Run | None = None

    @property
    def due(self) -> bool:
        """Whether it may be taken up now."""
        if self.run is None:
            return True
        delay = min(AGAIN * 2 ** min(self.run.attempts - 1, 10), LONGEST)
        # A clock that was set back must not make it wait for that long.
        return not 0 <= time.time() - (self.run.finished or 0) < delay


def wanted(places: Places) -> str | None:
    """The revision that is to be built now, if any."""
    found = pending(places)
    return found.revision if found and found.due else None


def pending(places: Places) -> Pending | None:
    """What is pushed and not dealt with, if anything: what the branch says against what the runs say."""
    head = Repository(places.repository).head(places.ref) if places.repository.exists() else None
    if head is None:
        return None
    attempts = 0
    for run in reversed(Runs(places.runs)):
        if run.kind is not RunKind.BUILD:
            continue
        if run.revision != head:
            break
        if run.waits:
            return Pending(head, run)
        if run.state in (RunState.FAILED, RunState.SUCCEEDED):
            return None
        attempts += 1
        if attempts >= ATTEMPTS and run.state is RunState.INTERRUPTED:
            return None
    return Pending(head)


def build_pushed(
    places: Places,
    builder: Builder,
    *,
    progress: Progress = SILENT,
    again: bool = False,
    patience: float = PATIENCE,
) -> tuple[Run, ...]:
    """Build what was pushed until the branch's newest revision is dealt with; the runs that took.

    Only the newest counts: revisions that were overtaken meanwhile end with that result. ``again`` builds the newest
    even when a run has dealt with it already. Waits for a run that is going on, and for a registry that is away for up
    to ``patience`` seconds.
    """
    runs: list[Run] = []
    places.ensure()
    with alone(places, _shown_to_who_waits(places, progress)):
        while True:
            found = pending(places)
            if found is None and again and not runs and (head := Repository(places.repository).head(places.ref)):
                found = Pending(head)
            # Who asks for a build does not wait until it is due.
            if found is None or (runs and not found.due):
                spool.clear(places.spool, until=time.time() - 60)
                return tuple(runs)
            runs.append(_build(places, found, builder, progress, patience))


def _shown_to_who_waits(places: Places, progress: Progress) -> Progress:
    """A progress for what comes before a build: whoever pushed what is to be built reads it as well."""
    found = pending(places)
    last = Runs(places.runs).last(RunKind.BUILD, found.revision) if found else None
    if found is None or (last and last.state is RunState.RUNNING):
        return progress
    return tee(progress, Journal(places.progress, found.revision))


def _build(places: Places, pending: Pending, builder: Builder, progress: Progress, patience: float) -> Run:
    revision = pending.revision
    repo = Repository(places.repository)
    taken = list(spool.notes(places.spool))
    by = next((note.by for note in reversed(taken) if note.revision == revision and note.by), "")
    if run := pending.run:
        run.resume()
    else:
        run = Runs(places.runs).start(RunKind.BUILD, revision, by or repo.committer(revision), repo.subject(revision))
    journal = Journal(places.progress, revision)
    journal.begin(run.id)
    for note in taken:
        if note.revision != revision and repo.is_ancestor(note.revision, revision):
            Journal(places.progress, note.revision).end("superseded", f"overtaken by {revision[:12]}, which is built")
        note.file.unlink(missing_ok=True)
    shown = tee(progress, journal)
    shown.step(f"building revision {revision[:12]}, asked by {run.by}")
    try:
        _steps(places, run, builder, shown, patience)
    except PillarboxError as error:
        run.durations = dict(shown.durations)
        run.waits = isinstance(error, Unavailable)
        run.finish(RunState.INTERRUPTED if isinstance(error, Interrupted) else RunState.FAILED, str(error))
    except OSError as error:
        # The machine refuses, and it is no fault of the revision's: a full disk has room again some day.
        run.durations, run.waits = dict(shown.durations), True
        run.finish(RunState.INTERRUPTED, f"{type(error).__name__}: {error}")
    except BaseException as error:
        run.durations = dict(shown.durations)
        # Interrupted by a person or a signal: to be taken up again. Anything else is a fault of ours, reported as such.
        stopped = isinstance(error, KeyboardInterrupt | SystemExit)
        text = "interrupted" if stopped else f"{type(error).__name__}: {error}"
        run.finish(RunState.INTERRUPTED if stopped else RunState.FAILED, text)
        journal.end(run.state, f"build {run.id}: {run.state}: {text}")
        raise
    else:
        run.durations = dict(shown.durations)
        run.finish(RunState.SUCCEEDED)
    for line in run.as_text().rstrip().splitlines():
        shown.step(line)
    journal.end(run.state, _last_words(places, run))
    return run


def _steps(places: Places, run: Run, builder: Builder, progress: Progress, patience: float) -> None:
    with progress.phase("reading the model"):
        model = publish.prepare(places, run.revision)
        revision = Revision.read(model, run.revision)
    with progress.phase("asking the registry"):
        recorded = Runs(places.runs).digests()
        known = stock.take(revision.images, recorded, patience=Patience(patience, progress.step))
    images = {name: _found(revision.images[name], digest) for name, digest in known.digests.items()}
    failed: Mapping[str, PillarboxError] = {}
    if known.missing:
        missing = {name: revision.images[name] for name in known.missing}
        with progress.phase(f"building {len(missing)} of {len(revision.images)} images"):
            results = builder(missing, _stage(places, model), revision, progress)
        images |= {name: _built(built) for name, built in results.built.items()}
        failed = results.failed
        images |= {name: ImageRecord(name, ImageState.FAILED, error=str(error)) for name, error in failed.items()}
    run.images = tuple(images[name] for name in sorted(images))
    lost = [name for name in known.missing if name not in images or images[name].state is ImageState.FAILED]
    if lost:
        text = f"{len(lost)} of {len(known.missing)} images could not be built: {', '.join(lost)}"
        raise _unbuilt(text, [failed.get(name) for name in lost])


def _unbuilt(text: str, reasons: Sequence[PillarboxError | None]) -> PillarboxError:
    """What images that were not built come to: a failure, unless every reason for it may pass."""
    if not all(isinstance(reason, Interrupted) for reason in reasons):
        return PipelineError(text)
    away = next((reason for reason in reasons if isinstance(reason, Unavailable)), None)
    return Unavailable(f"{text}: {away.message}") if away else Interrupted(text)


def _found(spec: ImageSpec, digest: str) -> ImageRecord:
    return ImageRecord(spec.name, ImageState.FOUND, spec.reference, digest, spec.content_key)


def _built(built: Built) -> ImageRecord:
    return ImageRecord(
        built.name,
        ImageState.FOUND if built.skipped else ImageState.BUILT,
        built.reference,
        built.digest,
        built.content_key,
        round(built.seconds, 1),
        built.size,
        built.pushed_size,
    )


def _stage(places: Places, model: Path) -> Path:
    """What builders need of a revision, as a directory here and as the archive that other machines fetch."""
    target = places.staging / model.name
    if target.is_dir() and archive(target).is_file():
        return target
    with files.making(target) as tree:
        for folder in ("formulas", "images"):
            if (model / folder).is_dir():
                shutil.copytree(model / folder, tree / folder, symlinks=True)
        with (
            files.replacing(archive(target)) as stream,
            tarfile.open(fileobj=stream, mode="w:gz", compresslevel=1) as packed,
        ):
            packed.add(tree, arcname=".")
    kept = {path.name for path in places.published.iterdir()} | {model.name}
    for path in places.staging.iterdir():
        if path.name.partition(".")[0] not in kept and not path.name.startswith("."):
            shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)
    return target


def archive(tree: Path) -> Path:
    """The archive beside a staged tree."""
    return tree.with_name(f"{tree.name}.tar.gz")


def _last_words(places: Places, run: Run) -> str:
    if run.succeeded:
        return "The images are built. Deploy with: salt-run state.orchestrate orch.deploy"
    if run.waits:
        return f"The build waits for what is away: {run.error.splitlines()[0]}. The master takes it up again by itself."
    if run.state is RunState.INTERRUPTED and wanted(places) == run.revision:
        return "The build was interrupted; the master takes it up again."
    good = Runs(places.runs).standing(RunKind.BUILD)
    still = f"a deploy takes revision {good.revision[:12]}, as before" if good else "there is nothing to deploy yet"
    return f"The build failed; {still}. Push a correction, or try again with: salt-run pillarbox.build again=True"
