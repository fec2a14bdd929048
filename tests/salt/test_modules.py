"""The builders' execution module, loaded and called by Salt; where it comes to building, there is no engine."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path
from typing import Any

import pytest
import salt.config
import salt.loader

from pillarbox.images import image_specs
from pillarbox.model import Inventory
from pillarbox.salt import share

REVISION = "1" * 40


@pytest.fixture
def staged(tmp_path: Path) -> Path:
    """A master's staging directory, with the archive of a revision's tree."""
    staged = tmp_path / "staging"
    staged.mkdir()
    pack(staged, {"formulas/toy/server.sls": b"x: {}\n"})
    return staged


def pack(staged: Path, files: dict[str, bytes]) -> None:
    with tarfile.open(staged / f"{REVISION}.tar.gz", "w:gz") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))


@pytest.fixture
def minion(tmp_path: Path, staged: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Options of a minion whose container engine does not answer."""
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/nothing.sock")
    opts = salt.config.minion_config(None)
    opts.update(
        id="m1",
        file_client="local",
        file_roots={"base": [str(staged)]},
        cachedir=str(tmp_path / "cache"),
        sock_dir=str(tmp_path / "sock"),
    )
    return opts


def build(minion: dict[str, Any], repository: Path, builder: str) -> tuple[dict[str, Any], int]:
    """What the function returns for the reference model's images as ``builder``'s share, and its return code."""
    context: dict[str, Any] = {}
    functions = salt.loader.minion_mods(minion, context=context)
    specs = [share.to_data(spec) for spec in image_specs(Inventory(repository)).values()]
    returned = functions["pillarbox.build_images"](
        shares={builder: specs},
        tree="/nowhere",
        source=f"salt://{REVISION}.tar.gz",
        revision=REVISION,
        tag="pillarbox/build/x",
        parallel=2,
    )
    return returned, context.get("retcode", 0)


def test_a_share_without_an_engine_fails_image_by_image(
    minion: dict[str, Any], repository: Path, tmp_path: Path
) -> None:
    returned, retcode = build(minion, repository, "m1")
    assert set(returned) == set(image_specs(Inventory(repository)))
    assert all("container engine" in outcome["error"] for outcome in returned.values())
    assert retcode == 1
    # The tree came from the master's file server.
    assert (tmp_path / "cache" / "pillarbox" / REVISION / "formulas/toy/server.sls").read_text() == "x: {}\n"


def test_the_share_of_another_is_nothing_to_do(minion: dict[str, Any], repository: Path, tmp_path: Path) -> None:
    assert build(minion, repository, "m2") == ({}, 0)
    assert not (tmp_path / "cache" / "pillarbox").exists()


def test_a_tree_that_leads_out_of_its_directory_is_refused(
    minion: dict[str, Any], repository: Path, staged: Path, tmp_path: Path
) -> None:
    pack(staged, {"../../escaped": b"x"})
    returned, retcode = build(minion, repository, "m1")
    assert retcode == 1
    assert all("leads out of it" in outcome["error"] for outcome in returned.values())
    assert not list(tmp_path.rglob("escaped"))
