"""Environment variables: what they say, what they cannot mean."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from pillarbox.cli import pillarbox
from pillarbox.images.store import Store
from pillarbox.lab import settings
from pillarbox.pipeline.places import Places
from pillarbox.system import environment
from pillarbox.system.environment import VariableError


@pytest.fixture(autouse=True)
def _nothing_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for each in environment.VARIABLES:
        monkeypatch.delenv(each.name, raising=False)


def test_what_is_not_set_or_empty_is_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    for value in (None, ""):
        if value is not None:
            monkeypatch.setenv(environment.STATE.name, value)
        assert environment.STATE.get() is None and environment.STATE.path() is None
        assert environment.STATE.directory() == Path(environment.STATE.default)


@pytest.mark.parametrize("value", ["off", "relative/path", "./here", "~/cache", "0"])
def test_no_directory_is_made_of_what_is_no_absolute_path(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, value: str
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(environment.BUILD_CACHE.name, value)
    with pytest.raises(VariableError, match=r"PILLARBOX_BUILD_CACHE=.*expected an absolute path") as raised:
        Store().folder("locks")
    assert raised.value.hint
    monkeypatch.setenv(environment.LAB_DIR.name, value)
    with pytest.raises(VariableError, match="PILLARBOX_LAB_DIR="):
        settings.load()
    monkeypatch.setenv(environment.ROOT.name, value)
    with pytest.raises(VariableError, match="PILLARBOX_ROOT="):
        Places.of()
    assert list(tmp_path.iterdir()) == []


def test_places_of_a_master(monkeypatch: pytest.MonkeyPatch) -> None:
    assert Places.of() == Places()
    monkeypatch.setenv("PILLARBOX_ROOT", "/a")
    monkeypatch.setenv("PILLARBOX_BRANCH", "stable")
    assert Places.of() == Places(Path("/a"), Path("/var/lib/pillarbox"), Path("/a/model.git"), "stable")
    given = {"root": "/b", "repository": "/c/m.git"}
    assert Places.of(given) == Places(Path("/b"), Path("/var/lib/pillarbox"), Path("/c/m.git"), "stable")


def test_a_builders_cache_and_that_of_nodes_are_two(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PILLARBOX_CACHE", "off")
    assert environment.CACHE.is_off()
    assert Store().path == Path("/var/cache/pillarbox")
    monkeypatch.setenv("PILLARBOX_BUILD_CACHE", str(tmp_path))
    assert Store().folder("salt") == tmp_path / "salt"


def test_a_default_is_set_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(environment.CACHE.name, "")
    environment.CACHE.set_default("/a")
    environment.CACHE.set_default("/b")
    assert environment.CACHE.path() == Path("/a")


def test_help_shows_them_all() -> None:
    done = CliRunner().invoke(pillarbox, ["--help"])
    assert done.exit_code == 0
    assert all(each.name in done.output for each in environment.VARIABLES)


def test_a_wrong_one_is_an_error_of_the_command(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from pillarbox.cli import main

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PILLARBOX_ROOT", "x")
    with pytest.raises(SystemExit) as ended:
        main(["report"])
    assert ended.value.code == 1
