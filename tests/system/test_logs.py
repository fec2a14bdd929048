"""What --verbose shows."""

from __future__ import annotations

import io
import logging
from collections.abc import Iterator

import pytest
from click.testing import CliRunner

from pillarbox.cli import pillarbox
from pillarbox.system import logs, waiting


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    logger = logging.getLogger(logs.ROOT)
    before = logger.handlers[:], logger.level, logger.propagate
    yield
    logger.handlers[:], logger.level, logger.propagate = before


def wait_for_something() -> None:
    answers = iter([False, False, True])
    waiting.until(lambda: next(answers), "something", patience=60, every=0.001)


@pytest.mark.parametrize(("verbosity", "lines"), [(0, 0), (1, 1), (2, 2), (3, 2)])
def test_more_is_shown_the_more_is_asked_for(verbosity: int, lines: int) -> None:
    stream = io.StringIO()
    logs.to_stderr(verbosity, stream)
    wait_for_something()
    shown = stream.getvalue().splitlines()
    assert len(shown) == lines
    assert all("pillarbox.system.waiting: waiting for something" in line for line in shown)


def test_asked_for_twice_it_is_shown_once() -> None:
    first, second = io.StringIO(), io.StringIO()
    logs.to_stderr(1, first)
    logs.to_stderr(1, second)
    wait_for_something()
    assert first.getvalue() == "" and len(second.getvalue().splitlines()) == 1


def test_libraries_stay_silent() -> None:
    stream = io.StringIO()
    logs.to_stderr(2, stream)
    logging.getLogger("kubernetes.client.rest").debug("response body: the password")
    assert stream.getvalue() == ""


def test_the_command_line_turns_it_on(minimal_model: object = None) -> None:
    done = CliRunner().invoke(pillarbox, ["-vv", "lint", "--help"])
    assert done.exit_code == 0
    assert logging.getLogger(logs.ROOT).level == logging.DEBUG
    CliRunner().invoke(pillarbox, ["--verbose", "lint", "--help"])
    assert logging.getLogger(logs.ROOT).level == logging.INFO
