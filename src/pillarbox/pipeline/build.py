"""From a pushed revision to images in the registry and a published model."""

from __future__ import annotations

import shutil
import tarfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from pillarbox.images import ImageSpec, stock
from pillarbox.images import plan as image_plan
from pillarbox.images.builder import Built
from pillarbox.pipeline import publish, spool
from pillarbox.pipeline.errors import PipelineError
from pillarbox.pipeline.git import Repository
from pillarbox.pipeline.journal import Journal, tee
from pillarbox.pipeline.places import Places
from pillarbox.pipeline.record import ImageRecord, ImageState, Run, RunKind, Runs, RunState
from pillarbox.revision import Revision
from pillarbox.system import files, locks
from pillarbox.system.engine import Engine
from pillarbox.system.errors import Interrupted, PillarboxError
from pillarbox.system.progress import SILENT, Progress

#: A build whose process dies this often is not tried again unasked.
ATTEMPTS = 3


class Builder(Protocol):
    """Builds images somewhere. ``tree`` has the revision's formulas and image files."""

    def __call__(
        self, specs: Mapping[str, ImageSpec], tree: Path, revision: Revision, progress: Progress
    ) -> image_plan.Results: ...


def on_this_machine(parallel: int = image_plan.PARALLEL) -> Builder:
    """A builder that uses the container engine here."""

    def build(
        specs: Mapping[str, ImageSpec], tree: Path, revision: Revision, progress: Progress
    ) -> image_plan.Results:
        return image_plan.build_all(
            specs.values(), tree, engine=Engine(), progress=progress, parallel=parallel, revision=revision.name
        )

    return build


def wanted(places: Places) -> str | None:
    """The revision that is pushed and not dealt with, if any: what the branch says against what the runs say."""
    head = Repository(places.repository).head(places.ref) if places.repository.exists() else None
    if head is None:
        return None
    attempts = 0
    for run in reversed(Runs(places.runs)):
        if run.kind is not RunKind.BUILD:
            continue
        if run.revision != head:
            break
        if run.state is RunState.FAILED:
            return None
        if run.state is RunState.SUCCEEDED:
            return head if publish.current(places) is None else None
        attempts += 1
        if attempts >= ATTEMPTS and run.state is RunState.INTERRUPTED:
            return None
    return head


def build_pushed(
    places: Places, builder: Builder, *, progress: Progress = SILENT, again: bool = False
) -> tuple[Run, ...]:
    """Build what was pushed until the branch's newest revision is dealt with; the runs that took.

    Only the newest counts: revisions that were overtaken meanwhile end with that result. ``again`` builds the newest
    even when a run has dealt with it already. Waits for a run that is going on.
    """
    runs: list[Run] = []
    places.ensure()
    with locks.held(places.lock, waiting=lambda: progress.step("waiting for the run that is going on")):
        Runs(places.runs).close_stale()
        while True:
            revision = wanted(places)
            if revision is None and again and not runs:
                revision = Repository(places.repository).head(places.ref)
            if revision is None:
                spool.clear(places.spool, until=time.time() - 60)
                return tuple(runs)
            runs.append(_build(places, revision, builder, progress))


def _build(places: Places, revision: str, builder: Builder, progress: Progress) -> Run:
    repo = Repository(places.repository)
    taken = list(spool.notes(places.spool))
    by = next((note.by for note in reversed(taken) if note.revision == revision and note.by), "")
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
        _steps(places, run, builder, shown)
    except PillarboxError as error:
        run.durations = dict(shown.durations)
        run.finish(RunState.INTERRUPTED if isinstance(error, Interrupted) else RunState.FAILED, str(error))
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


def _steps(places: Places, run: Run, builder: Builder, progress: Progress) -> None:
    with progress.phase("reading the model"):
        model = publish.prepare(places, run.revision)
        revision = Revision.read(model, run.revision)
    with progress.phase("asking the registry"):
        known = stock.take(revision.images)
    images = {name: ImageRecord(name, ImageState.FOUND, digest=digest) for name, digest in known.digests.items()}
    if known.missing:
        missing = {name: revision.images[name] for name in known.missing}
        with progress.phase(f"building {len(missing)} of {len(revision.images)} images"):
            results = builder(missing, _stage(places, model), revision, progress)
        images |= {name: _built(built) for name, built in results.built.items()}
        images |= {
            name: ImageRecord(name, ImageState.FAILED, error=str(error)) for name, error in results.failed.items()
        }
    run.images = tuple(images[name] for name in sorted(images))
    lost = [name for name in known.missing if name not in images or images[name].state is ImageState.FAILED]
    if lost:
        raise PipelineError(f"{len(lost)} of {len(known.missing)} images could not be built: {', '.join(lost)}")
    with progress.phase("publishing the model to the master"):
        publish.publish(places, run.revision)
    run.published = True


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
        return "The model is published. Roll it out with: salt-run state.orchestrate orch.deploy"
    if run.state is RunState.INTERRUPTED and wanted(places) == run.revision:
        return "The build was interrupted; the master takes it up again."
    standing = publish.current(places)
    still = f"the master stays on revision {standing[:12]}" if standing else "no revision is published yet"
    return f"The build failed; {still}. Push a correction, or try again with: salt-run pillarbox.build again=True"
