"""A model's blocks encrypted again, to another key: the master's key is rotated.

Files keep their comments and their order; only the text of blocks changes.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pillarbox.model.read import yaml11
from pillarbox.model.read.settings import read_settings
from pillarbox.model.read.tree import DirectoryTree
from pillarbox.secrets.errors import SecretsError
from pillarbox.secrets.keyring import Keyring
from pillarbox.system import files, gpg
from pillarbox.system.progress import SILENT, Progress

_BLOCK = re.compile(rf"{gpg.BEGIN}.*?(?:{gpg.END}|\Z)", re.DOTALL)
_HINT = "Write it below `name: |`, every line of the block indented by the same."


def reencrypt(model: Path, public_key: str, keyring: Keyring, progress: Progress = SILENT) -> tuple[Path, ...]:
    """Encrypt every block in the nodes and classes of ``model`` again, for the holder of ``public_key`` alone.

    ``keyring`` has the private keys that open them now. Returns the files written: all that hold a block, or none where
    anything is wrong. Raises :class:`SecretsError` for a file that lies outside the model, for a block that is not
    written as a literal and for one that no key opens, :class:`~pillarbox.system.gpg.GpgError` for a key that is none.
    """
    tree = DirectoryTree(model)
    settings = read_settings(tree)
    found: dict[Path, str] = {}
    for name in (*tree.files(settings.nodes_uri), *tree.files(settings.classes_uri)):
        content = yaml11.decode(tree.read(name), name)
        if gpg.BEGIN in content:
            file = (model / name).resolve()
            if not file.is_relative_to(model.resolve()):
                raise SecretsError("the file lies outside the model, by a link", file=name)
            found[file] = content
    with tempfile.TemporaryDirectory(prefix="pillarbox-gpg-") as scratch:
        home = Path(scratch)
        recipient = gpg.import_key(home, public_key)
        written: dict[Path, str] = {}
        for file, content in found.items():
            shown = file.relative_to(model.resolve())
            with progress.phase(f"{shown}: encrypting {content.count(gpg.BEGIN)} secrets"):
                written[file] = _again(shown, content, keyring, lambda text: gpg.encrypt(home, recipient, text))
    for file, content in written.items():
        files.write(file, content)
    return tuple(written)


def _again(file: Path, content: str, keyring: Keyring, encrypted: Callable[[str], str]) -> str:
    """The content of a file with each block encrypted again; all else, and what is in them, stays."""
    clear: dict[str, str] = {}

    def one(found: re.Match[str]) -> str:
        line = content.count("\n", 0, found.start()) + 1
        first, *others = found[0].splitlines()
        margin = others[-1].partition(gpg.END)[0] if others else ""
        if not others or not all(each.startswith(margin.rstrip()) for each in others):
            raise SecretsError("a block is not written as a literal", file=file, line=line, hint=_HINT)
        block = "\n".join((first, *(each[len(margin) :] for each in others)))
        try:
            opened = keyring.decrypt(block)
        except gpg.GpgError as error:
            raise SecretsError(f"a block cannot be opened: {error.message}", file=file, line=line) from None
        armor = encrypted(opened).strip()
        clear[armor] = opened
        first, *others = armor.splitlines()
        return "\n".join((first, *((margin + each).rstrip() for each in others)))

    after = _BLOCK.sub(one, content)
    try:
        same = _data(file, after, clear.__getitem__) == _data(file, content, keyring.decrypt)
    except KeyError:
        same = False
    if not same:
        raise SecretsError("a block is not written as a literal", file=file, hint=_HINT)
    return after


def _data(file: Path, content: str, opened: Callable[[str], str]) -> Any:
    """The data of a file, with its blocks opened."""

    def walk(given: Any) -> Any:
        if isinstance(given, str):
            return gpg.replace(given, opened)
        if isinstance(given, dict):
            return {key: walk(value) for key, value in given.items()}
        return [walk(each) for each in given] if isinstance(given, list) else given

    return walk(yaml11.load_text(content, str(file)))
