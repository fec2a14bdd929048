"""Backups on a disk: whole or not there, kept as long as they are needed, and looked at before they are believed."""

from __future__ import annotations

import multiprocessing
import os
import resource
import signal
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from pillarbox.pipeline.archives import KEEP, Backups, Reason
from pillarbox.pipeline.errors import PipelineError
from pillarbox.pipeline.sources import HostSource
from pillarbox.system.command import CommandError
from pillarbox.system.progress import SILENT


@pytest.fixture
def backups(tmp_path: Path) -> Backups:
    (tmp_path / "backups").mkdir(mode=0o700)
    return Backups(tmp_path / "backups")


def command(name: str, text: str, restore: str = "cat") -> HostSource:
    return HostSource(name, ("sh", "-c", text), ("sh", "-c", restore), (), ())


def make(backups: Backups, *sources: Any, reason: Reason = Reason.ASKED) -> Any:
    return backups.make(sources, reason, revision="a" * 40, progress=SILENT)


def test_what_a_command_writes_comes_back_byte_for_byte(backups: Backups, tmp_path: Path) -> None:
    content = os.urandom(3_000_000)
    (tmp_path / "data").write_bytes(content)
    source = command("data", f"cat {tmp_path}/data", f"cat > {tmp_path}/back")
    made = make(backups, source)
    assert [path.name for path in sorted(made.directory.iterdir())] == ["backup.json", "data.gz"]
    assert made.directory.stat().st_mode & 0o077 == 0
    assert all(path.stat().st_mode & 0o077 == 0 for path in made.directory.iterdir()), "they hold secrets"
    found = backups.find("data")
    assert found == made
    found.verify("data")
    source.write(found.content("data"), found.archives["data"].size, {})
    assert (tmp_path / "back").read_bytes() == content


def test_one_that_fails_does_not_take_the_others_along(backups: Backups) -> None:
    made = make(backups, command("bad", "echo half; echo 'disk on fire' >&2; exit 3"), command("good", "echo all"))
    assert list(made.archives) == ["good"]
    assert "exited with 3: disk on fire" in made.failed["bad"]
    assert not made.file("bad").exists()
    with pytest.raises(PipelineError, match="no backup of bad"):
        backups.find("bad")


@pytest.mark.parametrize("text", ["exit 1", "true", "kill -9 $$"])
def test_where_nothing_can_be_had_nothing_is_kept(backups: Backups, text: str) -> None:
    with pytest.raises(PipelineError, match="only:"):
        make(backups, command("only", text))
    assert list(backups) == [] and list(backups.directory.iterdir()) == []


def test_a_damaged_archive_is_not_believed(backups: Backups) -> None:
    made = make(backups, command("data", "echo all"))
    file = made.file("data")
    file.write_bytes(file.read_bytes()[:-1] + b"x")
    with pytest.raises(PipelineError, match="damaged"):
        made.verify("data")
    file.unlink()
    with pytest.raises(PipelineError, match="cannot be read"):
        made.verify("data")


def test_a_record_that_cannot_be_read_stops_nothing(backups: Backups) -> None:
    first, second = make(backups, command("data", "echo 1")), make(backups, command("data", "echo 2"))
    (second.directory / "backup.json").write_text("{")
    assert [each.id for each in backups] == [first.id]
    assert backups.find("data") == first


def test_the_newest_are_kept_of_each_reason_and_the_last_of_everything(backups: Backups) -> None:
    rare = make(backups, command("rare", "echo once"))
    before = make(backups, command("data", "echo 0"), reason=Reason.EXPAND)
    daily = [make(backups, command("data", f"echo {number}")) for number in range(KEEP + 2)]
    assert list(backups) == [rare, before, *daily[2:]]


@dataclass
class Slow:
    """A source that says that it has begun, and never ends."""

    begun: Any
    name: str = "slow"

    def known(self) -> Mapping[str, Any]:
        return {}

    def read(self) -> Iterator[bytes]:
        yield b"half"
        self.begun.set()
        time.sleep(600)


def test_who_is_killed_leaves_no_backup_and_the_next_clears_up(backups: Backups) -> None:
    begun = multiprocessing.Event()
    process = multiprocessing.Process(target=make, args=(backups, Slow(begun)))
    process.start()
    assert begun.wait(60)
    assert process.pid is not None
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    assert list(backups) == []
    made = make(backups, command("data", "echo all"))
    assert list(backups.directory.iterdir()) == [made.directory]


def test_a_full_disk_is_told_and_leaves_nothing(backups: Backups) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
    try:
        with pytest.raises(PipelineError, match="the backup cannot be written"):
            make(backups, command("data", "head -c 1000000 /dev/urandom"))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert list(backups.directory.iterdir()) == []


def test_a_restore_that_fails_says_what_its_command_said(backups: Backups) -> None:
    source = command("data", "head -c 9000000 /dev/zero", "head -c 10 >/dev/null; echo 'no, thank you' >&2; exit 4")
    made = make(backups, source)
    with pytest.raises(CommandError, match="exited with 4: no, thank you"):
        source.write(made.content("data"), made.archives["data"].size, {})
