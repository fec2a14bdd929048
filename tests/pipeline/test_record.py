"""Records of runs and published trees: on a full disk, of a process that is killed, damaged."""

from __future__ import annotations

import json
import logging
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
from salt._logging import shutdown_temp_handler
from tests.pipeline.support import Deployment

from pillarbox.images.plan import Results
from pillarbox.pipeline import publish
from pillarbox.pipeline.build import build_pushed, pending, wanted
from pillarbox.pipeline.deploy import DeployOptions, deploy_revision
from pillarbox.pipeline.errors import PipelineError
from pillarbox.pipeline.git import Repository
from pillarbox.pipeline.places import Places
from pillarbox.pipeline.record import KEEP, ImageRecord, ImageState, RunKind, Runs, RunState
from pillarbox.rollout.objects import ObjectRef
from pillarbox.rollout.roll import RolloutOutcome, RolloutStep
from pillarbox.rollout.states import Action, StepResult
from pillarbox.salt.hosts import Highstates
from pillarbox.system import locks
from pillarbox.system.progress import Progress

# Salt's clients log here as if this were one of its commands, to whatever standard error was when they were loaded.
shutdown_temp_handler()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", disk], capture_output=True).returncode:
        pytest.skip("a small disk to fill needs the right to mount one")
    try:
        yield disk
    finally:
        subprocess.run(["umount", disk], check=True)


def fill(disk: Path) -> Path:
    filler = disk / "filler"
    with pytest.raises(OSError, match="No space left"), filler.open("wb", buffering=0) as stream:
        while True:
            stream.write(bytes(4096))
    return filler


def test_a_full_disk_is_told_and_spoils_no_record(small_disk: Path) -> None:
    runs = Runs(small_disk / "runs")
    before = runs.start(RunKind.BUILD, "a" * 40, "somebody")
    fill(small_disk)
    with pytest.raises(PipelineError, match="No space left"):
        runs.start(RunKind.BUILD, "b" * 40, "somebody")
    before.images = (ImageRecord("x" * 5000, ImageState.FOUND),)
    with pytest.raises(PipelineError, match="No space left"):
        before.finish(RunState.SUCCEEDED)
    assert [run.revision[0] for run in runs] == ["a"]
    assert runs.get(before.id).state == "running"
    (small_disk / "filler").unlink()
    before.finish(RunState.SUCCEEDED)
    last = runs.last()
    assert last is not None and last.succeeded
    assert not list(small_disk.rglob(".new-*"))


def test_what_the_next_deploy_begins_from_is_kept_however_many_trials_follow(tmp_path: Path) -> None:
    runs = Runs(tmp_path)
    built, deployed = runs.start(RunKind.BUILD, "a" * 40, "x"), runs.start(RunKind.DEPLOY, "a" * 40, "x")
    for run in (built, deployed):
        run.finish(RunState.SUCCEEDED)
    for _ in range(KEEP + 2):
        trial = runs.start(RunKind.DEPLOY, "b" * 40, "x")
        trial.dry_run = True
        trial.finish(RunState.SUCCEEDED)
    assert runs.names()[:2] == (built.id, deployed.id)
    assert len(runs.names()) == KEEP + 2
    assert [found.id for kind in RunKind if (found := runs.standing(kind))] == [built.id, deployed.id]


def test_what_another_version_wrote_does_not_stop_the_reconciler(tmp_path: Path) -> None:
    repository = tmp_path / "repository"
    places = Places(tmp_path, tmp_path, repository / ".git")
    subprocess.run(["git", "init", "--quiet", "--initial-branch=main", repository], check=True)
    identity = ["-c", "user.name=x", "-c", "user.email=x@localhost"]
    subprocess.run(["git", "-C", repository, *identity, "commit", "--quiet", "--allow-empty", "-m", "x"], check=True)
    head = subprocess.run(["git", "-C", repository, "rev-parse", "HEAD"], capture_output=True, text=True).stdout.strip()
    runs = Runs(places.runs)
    old, failed = runs.start(RunKind.BUILD, head, "x"), runs.start(RunKind.BUILD, head, "x")
    failed.finish(RunState.FAILED, "why")
    assert wanted(places) is None
    for run in (failed, old):
        (run.directory / "run.json").write_text('{"kind": "build"}')
        assert run.id not in [each.id for each in reversed(runs)]
    assert wanted(places) == head


@pytest.mark.parametrize(
    "wrong",
    [
        {"_at": [None, None]},
        {"_at": [1e400, None]},
        {"revision": None},
        {"subject": 1},
        {"error": 1},
        {"durations": {"a": [1]}},
        {"rollout": {"steps": [{}]}},
        {"rollout": "x"},
    ],
)
def test_a_record_of_wrong_types_is_passed_over(tmp_path: Path, wrong: dict[str, object]) -> None:
    runs = Runs(tmp_path)
    good, bad = (runs.start(RunKind.DEPLOY, "a" * 40, "x") for _ in "ab")
    file = bad.directory / "run.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **wrong}))
    assert [run.id for run in runs] == [good.id]
    runs.close_stale()
    with pytest.raises(PipelineError, match="cannot be read"):
        runs.get(bad.id)
    assert [each.directory for each in runs.unreadable()] == [bad.directory]


def test_a_record_that_nests_without_end_is_passed_over(tmp_path: Path) -> None:
    runs = Runs(tmp_path)
    (runs.start(RunKind.BUILD, "a" * 40, "x").directory / "run.json").write_text("[" * 100_000)
    assert runs.last() is None


def test_a_report_says_in_which_wave_each_object_was(tmp_path: Path) -> None:
    def step(name: str, action: Action, result: StepResult, wave: int) -> RolloutStep:
        return RolloutStep(ObjectRef("apps/v1", "Deployment", "default", name), action, result, wave, rolls=name == "a")

    run = Runs(tmp_path).start(RunKind.DEPLOY, "a" * 40, "x")
    steps = (
        step("a", Action.UPDATE, StepResult.OK, 1),
        step("b", Action.CREATE, StepResult.OK, 2),
        step("c", Action.UPDATE, StepResult.ROLLED_BACK, 3),
        step("d", Action.UPDATE, StepResult.FAILED, 3),
        step("e", Action.UPDATE, StepResult.NOT_REACHED, 4),
        step("f", Action.DELETE, StepResult.OK, 5),
    )
    run.rollout = RolloutOutcome(False, False, steps).as_dict()
    text = run.as_text()
    for name, wave in (("a", 1), ("b", 2), ("c", 3), ("d", 3), ("e", 4)):
        assert f"Deployment default/{name}  (wave {wave})" in text
    assert "Deployment default/f\n" in text, "what is no longer in the model goes after all waves"


def killed_at(number: int, directory: Path, action: Callable[[], object]) -> bool:
    """Do ``action`` in a process that is killed just before it writes, makes, renames or removes something below
    ``directory`` for the ``number``-th time; whether it was."""
    child = os.fork()
    if child == 0:
        left = number

        def before(event: str, arguments: tuple[object, ...]) -> None:
            nonlocal left
            writes = event == "open" and int(str(arguments[2])) & (os.O_WRONLY | os.O_RDWR)
            if writes or event in ("os.rename", "os.mkdir", "os.remove", "os.rmdir", "os.symlink", "os.chmod"):
                left -= str(directory) in str(arguments[0])
                if left < 0:
                    os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(before)
        try:
            action()
        except BaseException as error:
            print(error, file=sys.stderr)
            os._exit(1)
        os._exit(0)
    status = os.waitpid(child, 0)[1]
    assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0
    return os.WIFSIGNALED(status)


def killed_everywhere(directory: Path, action: Callable[[], object]) -> Iterator[int]:
    """Kill ``action`` at each of its steps on the disk, one after another; the number of the step."""
    number = 0
    while killed_at(number, directory, action):
        yield number
        number += 1
        assert number < 500, "it takes more steps each time"


def test_a_process_that_is_killed_at_any_step_leaves_records_that_can_be_read(tmp_path: Path) -> None:
    runs = Runs(tmp_path / "runs")

    def run() -> None:
        runs.close_stale()
        runs.start(RunKind.BUILD, "a" * 40, "x").finish(RunState.SUCCEEDED)

    kills = 0
    for _ in killed_everywhere(runs.directory, run):
        kills += 1
        assert runs.unreadable() == ()
        assert len(list(runs)) == len(runs.names())
        runs.close_stale()
        for each in runs:
            assert each.state in (RunState.SUCCEEDED, RunState.INTERRUPTED)
            assert (each.directory / "report.txt").read_text() == each.as_text()
        assert not list(tmp_path.rglob(".*-*"))
    assert kills > 10
    last = runs.last()
    assert last is not None and last.succeeded


def test_however_full_the_disk_is_a_run_has_a_record_or_does_not_exist(small_disk: Path) -> None:
    runs = Runs(small_disk / "runs")
    runs.start(RunKind.BUILD, "a" * 40, "x").finish(RunState.SUCCEEDED)
    filler = fill(small_disk)
    outcomes = set()
    for number in range(20):
        try:
            run = runs.start(RunKind.BUILD, "b" * 40, "x")
            run.finish(RunState.FAILED, "y" * 3000)
        except PipelineError:
            outcomes.add("refused")
        else:
            outcomes.add("written")
        assert runs.unreadable() == ()
        assert not list(small_disk.rglob(".new-*"))
        os.truncate(filler, max(0, filler.stat().st_size - number % 5 * 4096))
    assert outcomes == {"refused", "written"}


def test_a_run_without_a_record_is_passed_over_and_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    runs = Runs(tmp_path)
    good = runs.start(RunKind.BUILD, "a" * 40, "x")
    empty = tmp_path / "29991231T000000.000Z-build-aaaaaaaa"
    empty.mkdir()
    last = runs.last()
    assert last is not None and last.id == good.id
    (unreadable,) = runs.unreadable()
    assert str(empty) in str(unreadable) and "No such file" in unreadable.why
    with caplog.at_level(logging.WARNING):
        runs.close_stale()
    assert str(empty) in caplog.text
    with pytest.raises(PipelineError, match="cannot be read"):
        runs.get(empty.name)


@pytest.fixture
def pushed(deployment: Deployment) -> Deployment:
    """A repository with a revision of two files, one of them a program, and a link; nothing is published of it."""
    deployment.commit({"classes/c.yml": "parameters: {}", "nodes/a.yml": "classes: [c]", "run": "#!/bin/sh"}, "x")
    (deployment.work / "run").chmod(0o755)
    (deployment.work / "link").symlink_to("run")
    deployment.commit({}, "y")
    deployment.push()
    deployment.places.ensure()
    return deployment


def as_pushed(deployment: Deployment) -> bool:
    work, published = deployment.work, deployment.places.current
    compared = ["diff", "--recursive", "--no-dereference", "--exclude=.git", work, f"{published}/"]
    return subprocess.run(compared, capture_output=True).returncode == 0


def test_publishing_that_is_killed_at_any_step_publishes_all_or_nothing(pushed: Deployment) -> None:
    places = pushed.places
    revision = Repository(places.repository).resolve(places.ref)
    steps = 0
    for steps in killed_everywhere(places.published, lambda: publish.publish(places, revision)):
        assert publish.current(places) in (None, revision)
        if publish.current(places):
            assert as_pushed(pushed)
            places.current.unlink()
        if steps % 5 == 0:
            shutil.rmtree(places.published / revision, ignore_errors=True)
    assert steps > 10
    assert publish.current(places) == revision and as_pushed(pushed)
    assert not list(places.published.glob(".*"))


def truncated(tree: Path) -> None:
    os.truncate(tree / "nodes/a.yml", 0)


def missing(tree: Path) -> None:
    (tree / "nodes/a.yml").unlink()


def added(tree: Path) -> None:
    (tree / "nodes/b.yml").write_text("")


def mode(tree: Path) -> None:
    (tree / "run").chmod(0o644)


def led_elsewhere(tree: Path) -> None:
    (tree / "link").unlink()
    (tree / "link").symlink_to("nodes")


@pytest.mark.parametrize("damage", [truncated, missing, added, mode, led_elsewhere])
def test_a_published_tree_that_is_not_what_was_pushed_is_not_believed(
    pushed: Deployment, damage: Callable[[Path], None], caplog: pytest.LogCaptureFixture
) -> None:
    places = pushed.places
    revision = Repository(places.repository).resolve(places.ref)
    tree = publish.publish(places, revision)
    before = tree.stat().st_ino
    publish.publish(places, revision)
    assert tree.stat().st_ino == before
    damage(tree)
    assert not as_pushed(pushed) or damage is mode
    publish.publish(places, revision)
    assert as_pushed(pushed) and os.access(tree / "run", os.X_OK)
    assert "written again" in caplog.text


def test_a_deploy_takes_what_is_built_once_it_is_its_turn(pushed: Deployment) -> None:
    places = pushed.places
    older = Repository(places.repository).resolve(places.ref)
    newer = pushed.commit({}, "newer")
    pushed.push()
    Runs(places.runs).start(RunKind.BUILD, older, "x").finish(RunState.SUCCEEDED)
    waits = threading.Event()
    with ThreadPoolExecutor() as pool:
        with locks.held(places.lock):
            progress = Progress(sink=lambda line: waits.set())
            deploy = pool.submit(
                deploy_revision, places, None, DeployOptions(), by="x", states=Highstates({}), progress=progress
            )
            assert waits.wait(60)
            Runs(places.runs).start(RunKind.BUILD, newer, "x").finish(RunState.SUCCEEDED)
        assert deploy.result().revision == newer
    assert publish.current(places) == newer


def nothing_to_build(*_: object) -> Results:
    raise AssertionError("this model has no images")


@pytest.mark.parametrize("place", ["root", "state"])
def test_a_full_disk_is_no_failed_build(pushed: Deployment, small_disk: Path, place: str) -> None:
    places = replace(pushed.places, **{place: small_disk})
    head = Repository(places.repository).resolve(places.ref)
    places.ensure()
    filler = fill(small_disk)
    with suppress(PipelineError, OSError):
        build_pushed(places, nothing_to_build)
    assert publish.current(places) is None and pending(places) is not None
    filler.unlink()
    (run,) = build_pushed(places, nothing_to_build)
    assert run.succeeded and run.revision == head
    assert pending(places) is None
