"""Waiting and trying again: how often, how long, what the log says."""

from __future__ import annotations

import logging
import os
import threading
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pillarbox.system import waiting
from pillarbox.system.command import CommandError, run


def test_what_is_ready_is_not_waited_for(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG, "pillarbox"):
        assert waiting.until(lambda: "there", "it", patience=60) == "there"
    assert caplog.text == ""


def test_it_is_asked_until_it_is_there(caplog: pytest.LogCaptureFixture) -> None:
    answers = iter([None, "", 0, "there", "too much"])
    with caplog.at_level(logging.DEBUG, "pillarbox"):
        assert waiting.until(lambda: next(answers), "the key of x", patience=60, every=0.001) == "there"
    assert [record.levelname for record in caplog.records] == ["INFO", "DEBUG", "DEBUG"]
    assert all("waiting for the key of x" in record.message for record in caplog.records)


def test_patience_ends_and_gives_the_last_answer(caplog: pytest.LogCaptureFixture) -> None:
    began = time.monotonic()
    with caplog.at_level(logging.INFO, "pillarbox"):
        assert waiting.until(lambda: [], "nothing", patience=0.05, every=0.01) == []
    assert 0.05 <= time.monotonic() - began < 30
    assert "gave up waiting for nothing" in caplog.text


def test_what_does_not_end_in_time_is_ended() -> None:
    ended = threading.Event()
    with waiting.within(0.01, ended.set) as over:
        assert ended.wait(60)
    assert over.is_set()
    with waiting.within(3600, ended.clear) as over:
        pass
    with waiting.within(None, ended.clear) as never:
        pass
    assert ended.is_set() and not over.is_set() and not never.is_set()


def test_a_program_that_hangs_is_killed_with_what_it_started() -> None:
    hangs = ["unshare", "--pid", "--fork", "--kill-child", "sh", "-c", "echo begun; sleep 3600; true"]
    if os.geteuid() != 0:
        hangs = ["sleep", "3600"]
    with pytest.raises(CommandError, match=r"was not done within 0.5 s"):
        run(hangs, timeout=0.5)


def test_it_is_asked_once_without_any_patience() -> None:
    asked: list[int] = []
    assert not waiting.until(lambda: asked.append(1), "it", patience=0)
    assert asked == [1]


def test_what_a_question_raises_is_not_caught() -> None:
    with pytest.raises(KeyError):
        waiting.until(lambda: {}["x"], "it", patience=60)


class Passing(Exception):
    pass


@given(st.integers(0, 5))
def test_what_passes_is_tried_again(failures: int) -> None:
    calls: list[int] = []

    def call() -> int:
        calls.append(1)
        if len(calls) <= failures:
            raise Passing
        return len(calls)

    assert waiting.retry(call, "it", passing=Passing, patience=60, every=0.0001, longest=0.0002) == failures + 1


def test_the_log_says_why_it_is_tried_again(caplog: pytest.LogCaptureFixture) -> None:
    errors = [Passing("HTTP 503\nand more"), Passing()]

    def call() -> str:
        if errors:
            raise errors.pop(0)
        return "done"

    with caplog.at_level(logging.INFO, "pillarbox"):
        judge = lambda error: isinstance(error, Passing)  # noqa: E731
        assert waiting.retry(call, "GET /version", passing=judge, patience=60, every=0.001) == "done"
    assert [record.message for record in caplog.records] == [
        "GET /version: HTTP 503; trying again in 0.0 s",
        "GET /version: Passing; trying again in 0.0 s",
    ]


def test_other_errors_are_raised_at_once() -> None:
    calls: list[int] = []

    def call() -> None:
        calls.append(1)
        raise ValueError("final")

    with pytest.raises(ValueError, match="final"):
        waiting.retry(call, "it", passing=Passing, patience=60)
    assert calls == [1]


def test_the_error_itself_is_raised_when_patience_ends() -> None:
    calls: list[int] = []

    def call() -> None:
        calls.append(1)
        raise Passing(str(len(calls)))

    with pytest.raises(Passing) as raised:
        waiting.retry(call, "it", passing=Passing, patience=0.05, every=0.01)
    assert str(raised.value) == str(len(calls)) and len(calls) > 1


def test_no_pause_is_begun_that_would_outlast_patience() -> None:
    began = time.monotonic()

    def call() -> None:
        raise Passing

    with pytest.raises(Passing):
        waiting.retry(call, "it", passing=Passing, patience=50, every=100, longest=100)
    assert time.monotonic() - began < 30


def test_ctrl_c_ends_a_wait() -> None:
    def interrupted() -> bool:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        waiting.until(interrupted, "it", patience=60)
    with pytest.raises(KeyboardInterrupt):
        waiting.retry(interrupted, "it", passing=Exception, patience=60)


def test_a_sign_of_life_comes_while_the_block_runs_and_not_after() -> None:
    signs: list[int] = []
    enough = threading.Event()

    def sign() -> None:
        signs.append(1)
        if len(signs) == 3:
            enough.set()

    with waiting.meanwhile(sign, every=0.01):
        assert enough.wait(60)
    count = len(signs)
    assert not any(thread.name == "meanwhile" for thread in threading.enumerate())
    assert len(signs) == count
