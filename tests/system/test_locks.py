"""One at a time: other processes, other threads, killed holders, removed files."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from pillarbox.system import locks

HOLDER = """
import sys
from pathlib import Path
from pillarbox.system import locks
with locks.held(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""

COUNTER = """
import sys
from pathlib import Path
from pillarbox.system import locks
lock, count = Path(sys.argv[1]), Path(sys.argv[2])
for _ in range(50):
    with locks.held(lock):
        count.write_text(str(int(count.read_text()) + 1))
"""


@contextmanager
def holder(path: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds the lock until its standard input is closed."""
    command = [sys.executable, "-c", HOLDER, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None and process.stdout.readline() == "held\n"
        yield process


def test_who_does_not_wait_is_told_who_holds_it_and_a_killed_holder_lets_go(tmp_path: Path) -> None:
    path = tmp_path / "locks" / "lab"
    with holder(path) as other:
        busy = pytest.raises(locks.Busy, match=rf"process {other.pid}\b.*lab x")
        with busy, locks.held(path, wait=False, what="lab x"):
            pass
        assert locks.busy(path)
        owner = locks.owner(path)
        assert owner and owner.process == str(other.pid) and 0 <= time.time() - owner.since < 600
        other.kill()
        other.wait()
    assert not locks.busy(path) and locks.owner(path) is None
    with locks.held(path, wait=False):
        assert path.read_text().strip() == str(os.getpid())
        assert path.stat().st_mode & 0o777 == 0o600


def test_who_waits_says_so_once_and_gets_it_when_the_holder_ends(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path, calls = tmp_path / "lock", []
    with holder(path) as other, caplog.at_level(logging.INFO, "pillarbox"):

        def waiting() -> None:
            calls.append(locks.busy(path))
            assert other.stdin is not None
            other.stdin.close()

        with locks.held(path, waiting=waiting):
            assert calls == [True]
    assert f"which process {other.pid} holds" in caplog.text
    with locks.held(path, waiting=lambda: calls.append(False)):
        pass
    assert calls == [True]


def test_processes_never_hold_it_together(tmp_path: Path) -> None:
    count = tmp_path / "count"
    count.write_text("0")
    command = [sys.executable, "-c", COUNTER, str(tmp_path / "lock"), str(count)]
    others = [subprocess.Popen(command) for _ in range(4)]
    assert [each.wait() for each in others] == [0, 0, 0, 0]
    assert count.read_text() == "200"


def test_threads_of_one_process_exclude_each_other(tmp_path: Path) -> None:
    inside, most = [0], [0]

    def work() -> None:
        for _ in range(50):
            with locks.held(tmp_path / "lock"):
                inside[0] += 1
                most[0] = max(most[0], inside[0])
                inside[0] -= 1

    threads = [threading.Thread(target=work) for _ in range(8)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert most == [1]


def test_a_thread_that_has_it_is_refused_rather_than_left_waiting_for_itself(tmp_path: Path) -> None:
    refused = pytest.raises(RuntimeError, match="holds the lock")
    with locks.held(tmp_path / "a"), locks.held(tmp_path / "b"), refused, locks.held(tmp_path / "x" / ".." / "a"):
        pass
    with locks.held(tmp_path / "a"):
        pass


def test_an_error_in_the_block_lets_go(tmp_path: Path) -> None:
    with pytest.raises(ValueError), locks.held(tmp_path / "lock"):
        raise ValueError
    assert not locks.busy(tmp_path / "lock")


def test_a_process_that_was_forked_meanwhile_does_not_keep_it(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    reader, writer = os.pipe()
    with locks.held(path):
        child = os.fork()
        if child == 0:
            os.close(writer)
            os.read(reader, 1)
            os._exit(0)
    try:
        assert not locks.busy(path)
    finally:
        os.close(writer)
        os.close(reader)
        os.waitpid(child, 0)


def test_who_waited_for_a_file_that_its_holder_removed_takes_the_new_one(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    began, done = threading.Event(), threading.Event()

    def second() -> None:
        with locks.held(path, waiting=began.set):
            done.set()
            assert locks.busy(path)

    thread = threading.Thread(target=second)
    with locks.held(path):
        thread.start()
        assert began.wait(60)
        path.unlink()
    thread.join(60)
    assert done.is_set() and path.is_file()


def test_a_signal_ends_the_waiting(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with locks.held(path):
        script = HOLDER.replace(
            "held(Path(sys.argv[1]))", "held(Path(sys.argv[1]), waiting=lambda: print('waits', flush=True))"
        )
        command = [sys.executable, "-c", script, str(path)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as other:
            assert other.stdout is not None and other.stdout.readline() == "waits\n"
            other.send_signal(signal.SIGINT)
            assert other.wait(60) != 0


def test_what_is_no_lock_is_not_busy(tmp_path: Path) -> None:
    assert not locks.busy(tmp_path / "none")
    assert not (tmp_path / "none").exists()


def test_a_lock_is_not_made_through_a_link(tmp_path: Path) -> None:
    (tmp_path / "victim").write_text("precious")
    (tmp_path / "lock").symlink_to(tmp_path / "victim")
    with pytest.raises(OSError, match="symbolic link"), locks.held(tmp_path / "lock"):
        pass
    assert (tmp_path / "victim").read_text() == "precious"
