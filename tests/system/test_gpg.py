"""OpenPGP with real keys: blocks are found, made and opened."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests import gnupg

from pillarbox.system import gpg


@pytest.fixture(scope="module")
def home() -> Iterator[Path]:
    with gnupg.keyring() as found:
        yield found


@pytest.fixture(scope="module")
def key(home: Path) -> str:
    return gpg.import_key(home, gnupg.armored(home))


@pytest.mark.parametrize("clear", ["a word", "pa$$ wörd", "two\nlines", ""])
def test_what_was_encrypted_is_decrypted(home: Path, key: str, clear: str) -> None:
    block = gpg.encrypt(home, key, clear)
    assert gpg.is_block(block) and (not clear or clear not in block)
    assert gpg.decrypt(home, block) == clear
    # As it stands in a YAML file.
    assert gpg.decrypt(home, textwrap.indent(block, "      ")) == clear


def test_blocks_are_found_and_replaced_wherever_they_stand(home: Path, key: str) -> None:
    block = gpg.encrypt(home, key, "secret")
    data = {"a": [{"b": block}, "text"], "c": f"mysql://u:{block.strip()}@db", "d": 1}
    assert [path for path, _ in gpg.blocks(data)] == [("a", "0", "b"), ("c",)]
    opened = gpg.replace(data["c"], lambda each: gpg.decrypt(home, each))
    assert opened == "mysql://u:secret@db"
    # As Salt's renderer does it: a block's own line end goes, that of other text stays.
    assert gpg.replace(block, lambda each: gpg.decrypt(home, each)) == "secret"
    assert gpg.replace("text\n", str.upper) == "text\n"


def test_what_gpg_refuses_is_said(home: Path, key: str) -> None:
    with gnupg.keyring("other") as other:
        foreign = gpg.encrypt(other, gpg.import_key(other, gnupg.armored(other)), "x")
    with pytest.raises(gpg.GpgError, match=r"gpg --decrypt failed: (?s:.*)No secret key"):
        gpg.decrypt(home, foreign)
    with pytest.raises(gpg.GpgError, match="gpg --import failed"):
        gpg.import_key(home, "no key")


def test_without_gpg(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(gpg.GpgError, match="gpg is not installed"):
        gpg.decrypt(home, gpg.BEGIN)
