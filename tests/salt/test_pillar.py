"""The external pillar and master top, through Salt's own loader, with a real key and real PGP blocks."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import salt.config
import salt.loader
import yaml
from tests import gnupg

from pillarbox.model import ModelError
from pillarbox.model.read.tree import DirectoryTree
from pillarbox.salt.published import inventory
from pillarbox.secrets import KINDS, generate
from pillarbox.system import gpg

WriteModel = Callable[[dict[str, str]], Path]

SECRETS = "parameters:\n  _secret:\n" + "".join(f"    my_{kind}: {{kind: {kind}}}\n" for kind in KINDS)
MODEL = {
    "classes/cluster/lab/secrets.yml": SECRETS,
    "nodes/ctl01.yml": (
        "classes:\n- cluster.lab.secrets\napplications: [linux, web]\n"
        "parameters:\n  web:\n    password: ${_param:my_password}\n    port: 80\n"
    ),
    "nodes/ctl02.yml": "parameters:\n  web:\n    port: 81\n",
}


@pytest.fixture
def keys() -> Iterator[Path]:
    with gnupg.keyring("master") as home:
        yield home


@pytest.fixture
def opts(tmp_path: Path, keys: Path) -> dict[str, Any]:
    opts = salt.config.master_config(None)
    opts.update(
        id="ctl01", file_client="local", gpg_keydir=str(keys), cachedir=str(tmp_path / "cache"), renderer="jinja|yaml"
    )
    return opts


def served(opts: dict[str, Any], minion: str, model: Path, tmp_path: Path) -> dict[str, Any]:
    functions = salt.loader.minion_mods(opts)
    pillars = salt.loader.pillars(opts, functions)
    return pillars["pillarbox"](minion, {}, model=str(model), pki=str(tmp_path / "pki"))


def test_secrets_are_generated_encrypted_and_opened_for_the_minion_that_uses_them(
    write_model: WriteModel, keys: Path, opts: dict[str, Any], tmp_path: Path
) -> None:
    model = write_model(MODEL)
    (file,) = generate(model, gnupg.armored(keys))
    values = yaml.safe_load(file.read_text())["parameters"]["_param"]
    assert set(values) == {f"my_{kind}" for kind in KINDS}
    assert all(gpg.is_block(value) for value in values.values())

    pillar = served(opts, "ctl01", model, tmp_path)
    assert len(pillar["web"]["password"]) == 32
    assert pillar["web"]["port"] == 80
    # What the node does not use stays closed, and is not even sent.
    assert "_secret" not in pillar
    assert pillar["_param"] == {}


def test_new_secrets_replace_old_ones(
    write_model: WriteModel, keys: Path, opts: dict[str, Any], tmp_path: Path
) -> None:
    model = write_model(MODEL)
    generate(model, gnupg.armored(keys))
    first = served(opts, "ctl01", model, tmp_path)["web"]["password"]
    generate(model, gnupg.armored(keys))
    assert served(opts, "ctl01", model, tmp_path)["web"]["password"] != first


def test_a_minion_that_the_model_lacks_gets_nothing(
    write_model: WriteModel, opts: dict[str, Any], tmp_path: Path
) -> None:
    assert served(opts, "stranger", write_model(MODEL), tmp_path) == {}


def test_before_the_first_deploy_nobody_gets_anything(opts: dict[str, Any], tmp_path: Path) -> None:
    current = tmp_path / "current"
    assert served(opts, "ctl01", current, tmp_path) == {}
    opts["master_tops"] = {"pillarbox": {"model": str(current)}}
    assert salt.loader.tops(opts)["pillarbox"](opts=opts, grains={}) == {}
    with pytest.raises(ModelError, match="no directory"):
        # A master that is configured wrongly says so.
        inventory(tmp_path / "elsewhere" / "current")


def test_top_is_the_nodes_applications(write_model: WriteModel, opts: dict[str, Any]) -> None:
    model = write_model({"nodes/ctl01.yml": "applications: [linux, web]\n"})
    opts["master_tops"] = {"pillarbox": {"model": str(model)}}
    tops = salt.loader.tops(opts)
    assert tops["pillarbox"](opts=opts, grains={}) == {"base": ["linux", "web"]}


def test_a_newly_published_revision_is_seen_at_once(
    write_model: WriteModel, opts: dict[str, Any], tmp_path: Path
) -> None:
    first = write_model(MODEL)
    second = tmp_path / "second"
    shutil.copytree(first, second)
    (second / "nodes/ctl02.yml").write_text("parameters:\n  web:\n    port: 82\n")
    current = tmp_path / "current"
    current.symlink_to(first)
    assert served(opts, "ctl02", current, tmp_path)["web"]["port"] == 81
    scratch = tmp_path / "scratch"
    scratch.symlink_to(second)
    os.replace(scratch, current)
    assert served(opts, "ctl02", current, tmp_path)["web"]["port"] == 82


def test_hundreds_of_minions_read_the_model_once(
    write_model: WriteModel, opts: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``salt '*' saltutil.refresh_pillar``, twice, as one of the master's processes sees it."""
    classes = {f"classes/role{number}.yml": f"parameters:\n  role{number}: {{port: 1}}\n" for number in range(20)}
    nodes = {
        f"nodes/n{number:03}.yml": f"classes: [role{number % 20}]\nparameters:\n  name: n{number:03}\n"
        for number in range(300)
    }
    current = tmp_path / "current"
    current.symlink_to(write_model({**classes, **nodes}))
    read: list[str] = []
    original = DirectoryTree.read

    def counted(tree: DirectoryTree, file: str) -> bytes:
        read.append(file)
        return original(tree, file)

    monkeypatch.setattr(DirectoryTree, "read", counted)
    external = salt.loader.pillars(opts, salt.loader.minion_mods(opts))["pillarbox"]
    for _ in range(2):
        for number in range(300):
            pillar = external(f"n{number:03}", {}, model=str(current), pki=str(tmp_path / "pki"))
            assert pillar["name"] == f"n{number:03}" and pillar[f"role{number % 20}"] == {"port": 1}
    assert sorted(read) == sorted({*classes, *nodes})
