"""What tests of every room share: small models on disk, the repository's own, and a container engine."""

from __future__ import annotations

import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from hypothesis import settings
from tests import turns

import salt
from pillarbox.lab import engine as engines
from pillarbox.lab import machine
from pillarbox.lab import settings as lab_settings
from pillarbox.system.errors import PillarboxError

# Salt puts an importer of the old protocol in front, which pytest's own way of importing tests trips over.
assert salt.__path__
sys.meta_path[:] = [finder for finder in sys.meta_path if hasattr(finder, "find_spec")]

_TURN = pytest.StashKey[ExitStack]()
ROOT = Path(__file__).resolve().parent.parent

# Whoever started the tests in the background had them ignore Ctrl-C; some of them are about it.
signal.signal(signal.SIGINT, signal.default_int_handler)

# How long an example takes is this machine's business.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--long", action="store_true", help="run the tests that take minutes each, too")


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("numprocesses", None):
        os.environ[turns.VARIABLE] = tempfile.mkdtemp(prefix="pillarbox-turns-")
        config.add_cleanup(lambda: shutil.rmtree(os.environ.pop(turns.VARIABLE)))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Each test waits where another process needs the machine for itself; those with the lab say when they do."""
    with ExitStack() as turn:
        item.stash[_TURN] = turn
        if not item.get_closest_marker("lab"):
            turn.enter_context(turns.working())
        return (yield)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> None:
    # With its last test a process gives up what it had for all of them, and for that it may have to wait for another,
    # which waits for its turn.
    if nextitem is None:
        item.stash[_TURN].close()


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("long") and not item.config.getoption("--long"):
        pytest.skip("it takes minutes: make long-test")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Fast tests first, then those with an engine, then the lab; last what runs programs that the lab compiled.

    Where processes share the work (``-n 2 --dist loadgroup --no-loadscope-reorder``), one begins with the lab, and so
    with what takes longest; another has the rest.
    """

    def rank(item: pytest.Item) -> int:
        if item.get_closest_marker("lab"):
            return 2
        if item.get_closest_marker("compiled") or "apiserver" in getattr(item, "fixturenames", ()):
            return 3
        return 1 if item.get_closest_marker("engine") else 0

    items.sort(key=rank)
    if hasattr(config, "workerinput"):
        groups = {1: "engine", 2: "lab", 3: "compiled"}
        for item in items:
            if group := groups.get(rank(item)):
                item.add_marker(pytest.mark.xdist_group(group))
        items.sort(key=lambda item: rank(item) != 2)


def pytest_collection_finish(session: pytest.Session) -> None:
    """Processes that share the work must not share a lab."""
    for item in session.items if hasattr(session.config, "workerinput") else ():
        if item.get_closest_marker("xdist_group") and "@" not in item.nodeid:
            raise pytest.UsageError("this pytest-xdist does not keep a group's tests together: see setup.cfg")


@pytest.fixture(scope="session")
def container_engine() -> Iterator[engines.LabEngine]:
    """A Docker engine that answers: the machine's, or the lab's private one, which DOCKER_HOST then names."""
    if os.geteuid() != 0:
        pytest.skip("needs root, for the container engine")
    # The other process's lab takes the engine away with it: not before this one has done.
    with turns.held("engine", shared=True):
        yield from _engine()


def _engine() -> Iterator[engines.LabEngine]:
    own = lab_settings.load()
    running = engines.find(own)
    try:
        found = running or engines.start(own, print)
    except PillarboxError as error:
        pytest.skip(f"needs a container engine: {error}")
    before = os.environ.get("DOCKER_HOST")
    os.environ["DOCKER_HOST"] = found.address
    yield found
    if before is None:
        os.environ.pop("DOCKER_HOST", None)
    else:
        os.environ["DOCKER_HOST"] = before
    if running is None and not any(own.root.glob("labs/*")):
        engines.stop(own)
        machine.restore(own)


@pytest.fixture(autouse=True)
def _engine_for_those_that_need_one(request: pytest.FixtureRequest) -> None:
    if request.node.get_closest_marker("engine"):
        request.getfixturevalue("container_engine")


@pytest.fixture(scope="session")
def repository() -> Path:
    """The checkout under test; it is the reference deployment's model, too."""
    return ROOT


@pytest.fixture
def write_model(tmp_path: Path) -> Callable[[dict[str, str]], Path]:
    """Write ``{relative path: text}`` as a model under a temporary directory, which is returned."""

    def write(files: dict[str, str]) -> Path:
        model = tmp_path / "model"
        for folder in ("nodes", "classes"):
            (model / folder).mkdir(parents=True, exist_ok=True)
        for name, text in files.items():
            file = model / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text, encoding="utf-8")
        return model

    return write
