"""What can be wrong with the objects that a model asks for."""

from __future__ import annotations

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
        hint: str | None = None,
    ) -> None:
        super().__init__(message, file=file, hint=hint)
        self.node = node
        self.path = path

    def as_dict(self) -> dict[str, str | int | None]:
        return {**super().as_dict(), "node": self.node, "path": self.path}


@dataclass(frozen=True)
class PillarPlace:
    """A spot in the pillar of one node."""

    node: str
    file: str | None
    path: tuple[str, ...] = ()

    def __truediv__(self, key: object) -> PillarPlace:
        return PillarPlace(self.node, self.file, (*self.path, str(key)))

    def __str__(self) -> str:
        return ":".join(self.path)


@dataclass(frozen=True)
class Problems:
    """Collects what is wrong, so that a user reads all of it after one run."""

    found: list[PillarboxError] = field(default_factory=list)

    def add(self, place: PillarPlace, message: str, hint: str | None = None) -> None:
        path = str(place)
        text = f"node {place.node}, {path}: {message}" if path else f"node {place.node}: {message}"
        self.found.append(ManifestError(text, node=place.node, path=path, file=place.file, hint=hint))
