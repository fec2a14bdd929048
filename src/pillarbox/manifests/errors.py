"""What can be wrong with the objects that a model asks for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from pillarbox.system.errors import PillarboxError


class ManifestError(PillarboxError):
    """A pillar under ``kubernetes:control`` does not make an object; ``node`` and ``path`` say which pillar."""

    def __init__(
        self,
        message: str,
        *,
        node: str | None = None,
        path: str | None = None,
        file: str | Path | None = None,
        line: int | None = None,
        hint: str | None = None,
    ) -> None:
        super().__init__(message, file=file, line=line, hint=hint)
        self.node = node
        self.path = path

    def as_dict(self) -> dict[str, str | int | None]:
        return {**super().as_dict(), "node": self.node, "path": self.path}


#: From a path in a node's pillar to the file and line that set it.
Written = Callable[[tuple[str, ...]], tuple[str, int | None]]


@dataclass(frozen=True)
class PillarPlace:
    """A spot in the pillar of one node, and what tells the file and line that set it."""

    node: str
    written: Written = field(repr=False, compare=False)
    path: tuple[str, ...] = ()

    def __truediv__(self, key: object) -> PillarPlace:
        return self.at(key)

    def at(self, *keys: object) -> PillarPlace:
        return PillarPlace(self.node, self.written, (*self.path, *map(str, keys)))

    def __str__(self) -> str:
        return ":".join(self.path)


@dataclass(frozen=True)
class Problems:
    """Collects what is wrong, so that a user reads all of it after one run."""

    found: list[PillarboxError] = field(default_factory=list)

    def add(self, place: PillarPlace, message: str, hint: str | None = None, *, key: str | None = None) -> None:
        """Note what is wrong at ``place``; the line is that of its ``key``, where one of its keys is to blame."""
        path = str(place)
        text = f"node {place.node}, {path}: {message}" if path else f"node {place.node}: {message}"
        file, line = place.written((*place.path, key) if key else place.path)
        self.found.append(ManifestError(text, node=place.node, path=path, file=file, line=line, hint=hint))
