"""What tests of every room share: small models on disk, the repository's own, and a container engine."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import settings
from tests import programs

import salt
from pillarbox.lab import engine as engines
from pillarbox.lab import machine
from pillarbox.lab import settings as lab_settings
from pillarbox.system.errors import PillarboxError

# Salt puts an importer of the old protocol in front, which pytest's own way of importing tests trips over.
assert salt.__path__
sys.meta_path[:] = [finder for finder in sys.meta_path if hasattr(finder, "find_spec")]

ROOT = Path(__file__).resolve().parent.parent

# Whoever started the tests in the background had them ignore Ctrl-C; some of them are about it.
signal.signal(signal.SIGINT, signal.default_int_handler)

# How long an example takes is this machine's business.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Fast tests first, then those with an engine, then the lab; last what runs programs that the lab compiled."""

    def rank(item: pytest.Item) -> int:
        if item.get_closest_marker("lab"):
            return 2
        if "apiserver" in getattr(item, "fixturenames", ()):
            return 3 if programs.kubernetes() is None else 1
        return 1 if item.get_closest_marker("engine") else 0

    items.sort(key=rank)


@pytest.fixture(scope="session")
def container_engine() -> Iterator[engines.LabEngine]:
    """A Docker engine that answers: the machine's, or the lab's private one, which DOCKER_HOST then names."""
    if os.geteuid() != 0:
        pytest.skip("needs root, for the container engine")
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
