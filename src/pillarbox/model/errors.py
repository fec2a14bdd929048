"""What can be wrong with a model."""

from __future__ import annotations

from pathlib import Path

from pillarbox.system.errors import PillarboxError


class ModelError(PillarboxError):
    """The model does not parse, merge or interpolate; ``node`` names the node that was being rendered, if any."""

    def __init__(
        self,
        message: str,
        *,
        node: str | None = None,
        file: str | Path | None = None,
        line: int | None = None,
        hint: str | None = None,
    ) -> None:
        super().__init__(message, file=file, line=line, hint=hint)
        self.node = node

    def as_dict(self) -> dict[str, str | int | None]:
        return {**super().as_dict(), "node": self.node}
