"""Records of runs on a disk that has no room for them."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from pillarbox.pipeline.build import wanted
from pillarbox.pipeline.errors import PipelineError
from pillarbox.pipeline.places import Places
from pillarbox.pipeline.record import ImageRecord, ImageState, RunKind, Runs, RunState


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
    with pytest.raises(PipelineError, match="no run"):
        runs.get(bad.id)


def test_a_record_that_nests_without_end_is_passed_over(tmp_path: Path) -> None:
    runs = Runs(tmp_path)
    (runs.start(RunKind.BUILD, "a" * 40, "x").directory / "run.json").write_text("[" * 100_000)
    assert runs.last() is None
