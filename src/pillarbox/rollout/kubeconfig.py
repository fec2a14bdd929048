"""Kubeconfigs: the operator's own, and those that a model names.

A kubeconfig may name programs that whoever reads it runs, and files whose content goes to the server. That is for the
operator to say, who gives one on the command line; whoever may push to the model writes neither.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pillarbox.rollout.errors import RolloutError

#: What runs a program, in a kubeconfig.
_PROGRAMS = ("exec", "auth-provider")
#: What names a file, by the part of a kubeconfig that it is in.
_FILES = {"user": ("tokenFile", "client-certificate", "client-key"), "cluster": ("certificate-authority",)}


@dataclass(frozen=True)
class Kubeconfig:
    """The kubeconfig at ``path``. ``pushed`` is of one that the model names: the directories that pushes write to."""

    path: Path
    pushed: tuple[Path, ...] | None = None

    def read(self) -> dict[str, Any]:
        """What stands in one that the model names.

        Raises ``YAMLError`` for text that is no YAML, and :class:`RolloutError` where somebody else than the operator
        can write it, where it runs a program, or where it names a file that is not below its own directory.
        """
        import yaml

        self._refuse_place()
        found = yaml.safe_load(self.path.read_bytes())
        if not isinstance(found, dict):
            raise ValueError("no mapping")
        self._refuse_content(found)
        return found

    def _refuse_place(self) -> None:
        if not self.path.is_absolute():
            raise self._error("a model names its kubeconfig by an absolute path")
        real = self.path.resolve()
        if any(real.is_relative_to(place.resolve()) for place in self.pushed or ()):
            raise self._error("it lies where pushes are written")
        for each in (real, *real.parents):
            found = each.stat()
            # In a directory like /tmp nobody replaces what is somebody else's.
            others = found.st_mode & 0o022 and not (stat.S_ISDIR(found.st_mode) and found.st_mode & stat.S_ISVTX)
            if others or found.st_uid not in (0, os.geteuid()):
                raise self._error(f"others than the operator can write {each}")

    def _refuse_content(self, found: Mapping[str, Any]) -> None:
        folder = self.path.parent
        for where, part in _parts(found):
            kind = where.partition(" ")[0]
            for key in _PROGRAMS:
                if part.get(key):
                    raise self._error(f"{where} has {key}, which runs a program")
            for key in _FILES[kind]:
                named = part.get(key)
                if named and not (folder / str(named)).resolve().is_relative_to(folder.resolve()):
                    raise self._error(f"{where} has a {key} that is not below {folder}: {named}")

    def _error(self, what: str) -> RolloutError:
        return RolloutError(
            f"not a kubeconfig that a model may name: {what}",
            file=self.path,
            hint="Embed certificates or a token in a file that root alone can write, or give it with --kubeconfig.",
        )


def _parts(found: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """The users and clusters of a kubeconfig, and what to call each; what has another form is passed over."""
    for kind in _FILES:
        entries = found.get(f"{kind}s")
        for entry in entries if isinstance(entries, list) else ():
            part = entry.get(kind) if isinstance(entry, Mapping) else None
            if isinstance(part, Mapping):
                yield f"{kind} {entry.get('name')}", part
