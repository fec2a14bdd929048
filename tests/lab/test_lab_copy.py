"""The lab's own copy of the model: the source's files, the lab's secrets."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from tests import gnupg

from pillarbox.lab import copy, repository
from pillarbox.lab.settings import LabSettings
from pillarbox.secrets import add, generate
from pillarbox.system import git

SECRETS = {"parameters": {"_secret": {"one_password": {"kind": "password"}}}}


@pytest.fixture
def settings(tmp_path: Path) -> LabSettings:
    source = tmp_path / "source"
    for directory in ("nodes", "classes/cluster/x", "formulas/f"):
        (source / directory).mkdir(parents=True)
    (source / "nodes" / "h.yml").write_text("classes: [cluster.x]\n")
    (source / "classes" / "cluster" / "x" / "secrets.yml").write_text(yaml.safe_dump(SECRETS))
    (source / "formulas" / "f" / "init.sls").write_text("{}\n")
    (source / "src").mkdir()
    (source / "src" / "program.py").write_text("")
    return LabSettings("x", tmp_path / "root", tmp_path / "cache", tmp_path, source, "auto")


@pytest.fixture(scope="module")
def keys() -> list[str]:
    """Two public keys."""
    with gnupg.keyring() as one, gnupg.keyring() as two:
        return [gnupg.armored(one), gnupg.armored(two)]


def unrendered(model: Path) -> None:
    """Nothing is rendered from this model."""


def secret(settings: LabSettings) -> str:
    text = (settings.model / "classes" / "cluster" / "x" / "secrets.yml").read_text()
    return yaml.safe_load(text)["parameters"]["_param"]["one_password"]


def test_takes_the_model_and_not_the_program(settings: LabSettings, keys: list[str]) -> None:
    assert copy.refresh(settings, keys[0], unrendered, generate)
    assert (settings.model / "formulas" / "f" / "init.sls").is_file()
    assert not (settings.model / "src").exists()
    assert secret(settings).startswith("-----BEGIN PGP MESSAGE-----")


def test_secrets_stay_until_the_key_changes_and_new_ones_join_them(settings: LabSettings, keys: list[str]) -> None:
    copy.refresh(settings, keys[0], unrendered, generate)
    first, head = secret(settings), git.head(settings.model)
    assert not copy.refresh(settings, keys[0], unrendered, generate)
    assert secret(settings) == first and git.head(settings.model) == head
    copy.refresh(settings, keys[1], unrendered, generate)
    second = secret(settings)
    assert second != first
    more = {"parameters": {"_secret": {**SECRETS["parameters"]["_secret"], "two": {"kind": "token"}}}}
    (settings.source / "classes" / "cluster" / "x" / "secrets.yml").write_text(yaml.safe_dump(more))
    assert copy.refresh(settings, keys[1], unrendered, generate)
    assert secret(settings) == second, "services run with it"
    document = yaml.safe_load((settings.model / "classes" / "cluster" / "x" / "secrets.yml").read_text())
    assert document["parameters"]["_param"]["two"].startswith("-----BEGIN PGP MESSAGE-----")
    head = git.head(settings.model)
    assert not copy.refresh(settings, keys[1], unrendered, generate) and git.head(settings.model) == head


def test_a_run_that_was_killed_in_the_middle_is_mended(settings: LabSettings, keys: list[str]) -> None:
    copy.refresh(settings, keys[0], unrendered, generate)
    (settings.model / ".git" / "index.lock").write_text("")
    (settings.model / "nodes" / "h.yml").write_text("half")
    (settings.model / "left-over.yml").write_text("")
    copy.refresh(settings, keys[0], unrendered, generate)
    assert (settings.model / "nodes" / "h.yml").read_text() == "classes: [cluster.x]\n"
    assert not (settings.model / "left-over.yml").exists()


def test_overlay_brings_changes_but_never_secrets(settings: LabSettings, keys: list[str]) -> None:
    copy.refresh(settings, keys[0], unrendered, generate)
    kept = secret(settings)
    (settings.source / "nodes" / "h.yml").write_text("classes: []\n")
    assert repository.differs(settings) == ["nodes/h.yml"]
    assert copy.overlay(settings, keys[0], unrendered, generate)
    assert repository.differs(settings) == [] and secret(settings) == kept


def test_overlay_makes_the_secrets_that_only_the_source_asks_for(settings: LabSettings, keys: list[str]) -> None:
    file = settings.model / "classes/cluster/x/secrets.yml"
    copy.refresh(settings, keys[0], unrendered, generate)
    add(settings.model, keys[0], ["of_a_user"])
    kept = yaml.safe_load(file.read_text())["parameters"]["_param"]
    asked = {"one_password": {"kind": "password", "then": "two"}, "two": {"kind": "token"}}
    (settings.source / "classes/cluster/x/secrets.yml").write_text(yaml.safe_dump({"parameters": {"_secret": asked}}))
    assert copy.overlay(settings, keys[0], unrendered, generate)
    found = yaml.safe_load(file.read_text())["parameters"]
    assert found["_secret"] == {**asked, "of_a_user": {"kind": "password"}}
    assert {name: found["_param"][name] for name in kept} == kept
    assert found["_param"]["two"].startswith("-----BEGIN PGP MESSAGE-----")
    assert not copy.overlay(settings, keys[0], unrendered, generate)


def test_ignored_files_of_a_work_tree_stay_out(settings: LabSettings) -> None:
    git.run(settings.source, "init", "--quiet")
    (settings.source / ".gitignore").write_text("*.local\n")
    (settings.source / "nodes" / "x.local").write_text("")
    (settings.source / "nodes" / "new.yml").write_text("{}")
    names = [str(each.relative_to(settings.source)) for each in copy.files(settings.source)]
    assert "nodes/new.yml" in names and "nodes/x.local" not in names
