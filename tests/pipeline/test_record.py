"""Records of runs on a disk that has no room for them."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from pillarbox.pipeline.errors import PipelineError
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
