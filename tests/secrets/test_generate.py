"""Secrets of a deployment: what is wrong is told, and then nothing is written at all."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests import gnupg

from pillarbox.secrets import generate
from pillarbox.system.errors import PillarboxError

GOOD = "parameters:\n  _secret:\n    one: {kind: password}\n"


@pytest.fixture(scope="module")
def key() -> str:
    with gnupg.keyring() as home:
        return gnupg.armored(home)


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"a: [",
        b"[1]",
        b"parameters: [1]",
        b"parameters: {_secret: [a]}",
        b"parameters: {_secret: {a: x}}",
        b"parameters: {_secret: {a: {kind: [p]}}}",
        b"parameters: {_secret: {a: {kind: nope}}}",
        b"parameters: {_param: x}",
        b"\xff\xfe",
    ],
)
def test_a_file_that_is_wrong(tmp_path: Path, key: str, text: bytes) -> None:
    for name, content in (("a", GOOD.encode()), ("z", text)):
        (tmp_path / "classes/cluster" / name).mkdir(parents=True)
        (tmp_path / "classes/cluster" / name / "secrets.yml").write_bytes(content)
    with pytest.raises(PillarboxError, match=r"classes/cluster/z/secrets\.yml"):
        generate(tmp_path, key)
    assert (tmp_path / "classes/cluster/a/secrets.yml").read_text() == GOOD


def test_nothing_is_written_outside_the_model(tmp_path: Path, key: str) -> None:
    (tmp_path / "model/classes/cluster").mkdir(parents=True)
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside/secrets.yml").write_text(GOOD)
    (tmp_path / "model/classes/cluster/z").symlink_to(tmp_path / "outside")
    with pytest.raises(PillarboxError, match="outside the model"):
        generate(tmp_path / "model", key)
    assert (tmp_path / "outside/secrets.yml").read_text() == GOOD
