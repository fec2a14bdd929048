"""A lab of the tests' own: brought up from nothing or repaired, as a user's ``make lab`` would be."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Protocol

import pytest
from tests import turns
from tests.story.lab import COMMAND, NAME, PREFIX, Lab, own_model, run

from pillarbox.lab import engine as engines
from pillarbox.lab import settings as lab_settings


@pytest.fixture(scope="session")
def own_choice_of_engine() -> Iterator[None]:
    """The lab finds its engine as a user's does, whatever the tests before it worked with."""
    with pytest.MonkeyPatch.context() as patch:
        if os.environ.get("DOCKER_HOST") == f"unix://{engines.socket(lab_settings.load())}":
            patch.delenv("DOCKER_HOST")
        yield


class LabOf(Protocol):
    """Brings up and deploys a lab of the reference model with a name and a network of its own; ``prepare`` changes that
    model before. ``PILLARBOX_TEST_LAB=keep`` leaves it running afterwards."""

    def __call__(
        self, name: str, prefix: str, prepare: Callable[[Path], None] = ...
    ) -> AbstractContextManager[Lab]: ...


@pytest.fixture(scope="session")
def lab_of(
    tmp_path_factory: pytest.TempPathFactory,
    repository: Path,
    pytestconfig: pytest.Config,
    own_choice_of_engine: None,
) -> LabOf:
    @contextmanager
    def made(name: str, prefix: str, prepare: Callable[[Path], None] = lambda model: None) -> Iterator[Lab]:
        model = own_model(repository, tmp_path_factory.mktemp("lab") / "model", name, prefix)
        prepare(model)
        with up(Lab(model, name), pytestconfig) as lab:
            yield lab

    return made


@pytest.fixture(scope="session")
def lab(lab_of: LabOf) -> Iterator[Lab]:
    """The lab that most tests share."""
    with lab_of(NAME, PREFIX) as lab:
        yield lab


@contextmanager
def up(lab: Lab, config: pytest.Config) -> Iterator[Lab]:
    """A lab from its model, up and deployed while the block lasts, or for longer where it is to be kept."""
    if os.geteuid() != 0:
        pytest.skip("the lab needs root, for its container engine")
    if os.environ.get("PILLARBOX_TEST_LAB") == "none":
        pytest.skip("PILLARBOX_TEST_LAB=none")
    command = [*COMMAND, "--model", str(lab.model), "lab", "--name", lab.name]
    if os.environ.get("PILLARBOX_TEST_LAB") != "keep":
        # A run that died may have left its lab behind, in whatever state.
        # The engine stays: another process's tests may have begun with it.
        other = lab_settings.load().root / "labs" / "tests"
        other.mkdir(parents=True, exist_ok=True)
        run([*command, "clean", "--keep-cache"], capture_output=True)
        other.rmdir()
    try:
        # Not captured: it takes minutes, and whoever waits wants to see how far it is.
        with (
            config.pluginmanager.getplugin("capturemanager").global_and_fixture_disabled(),
            turns.held("programs"),
        ):
            print()
            # A lab that was kept has the model of the tests before.
            made = run([*command, "up", "--push"])
        assert made.returncode == 0, "pillarbox lab up failed"
        if os.environ.get("PILLARBOX_TEST_LAB") == "keep":
            lab.deploy()
        yield lab
    finally:
        if os.environ.get("PILLARBOX_TEST_LAB") != "keep":
            with turns.held("engine"):
                run([*command, "clean", "--keep-cache"], capture_output=True)
