"""Lines of progress, and what breaks a silence."""

from __future__ import annotations

import queue
import threading

import pytest

from pillarbox.system.progress import SILENT, Progress


@pytest.fixture
def lines() -> queue.Queue[str]:
    return queue.Queue()


def heard(lines: queue.Queue[str], start: str) -> str:
    """The next line that starts so, without its time."""
    while True:
        text = lines.get(timeout=60).partition("] ")[2]
        if text.startswith(start):
            return text


def test_a_silence_ends_with_what_is_waited_for_and_for_how_long(lines: queue.Queue[str]) -> None:
    progress = Progress(sink=lines.put, silence=0.05)
    with progress.phase("building"):
        assert heard(lines, "still: building (for ").endswith("s)")
        with progress.waiting("a: packages") as first, progress.waiting("b: packages"):
            line = heard(lines, "still: a: packages (for ")
            assert ", b: packages (for " in line and "building" not in line
            first.now("a: configuration")
            assert heard(lines, "still: a: configuration (for ")
        assert heard(lines, "still: building (for ")
    assert heard(lines, "building: done in")


def test_nothing_is_said_while_there_are_lines_or_nothing_goes_on(lines: queue.Queue[str]) -> None:
    progress = Progress(sink=lines.put, silence=3600)
    with progress.phase("building"), progress.waiting("a"):
        progress.step("one")
    watching = [thread for thread in threading.enumerate() if thread.name == "progress"]
    for thread in watching:
        thread.join(60)
        assert not thread.is_alive(), "nobody waits for what has ended"
    assert [lines.get_nowait().partition("] ")[2].partition(":")[0] for _ in range(3)] == [
        "building ...",
        "one",
        "building",
    ]
    assert lines.empty()
    with SILENT.phase("anything"):
        assert not any(thread.name == "progress" for thread in threading.enumerate())


def test_many_things_at_once_are_not_all_named(lines: queue.Queue[str]) -> None:
    progress = Progress(sink=lines.put, silence=0.05)
    activities = [progress.waiting(f"host {number}") for number in range(6)]
    for each in activities:
        each.__enter__()
    line = heard(lines, "still: host 0 (for ")
    while "and 2 more" not in line:
        line = heard(lines, "still: host 0 (for ")
    for each in activities:
        each.__exit__(None, None, None)
