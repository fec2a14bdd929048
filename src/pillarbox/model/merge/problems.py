"""Why a value does not render."""

from __future__ import annotations

from typing import Any

from pillarbox.model.merge.cells import Template

Path = tuple[Any, ...]


class Problem(Exception):
    """Why a value does not render. ``path`` is where it stands, ``template`` the string that is to blame, if any."""

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.template: Template | None = None
        self.path: Path | None = None
        self.recorded = False


class Unresolved(Problem):
    """A reference names what does not exist."""

    def __init__(self, reference: str, missing: Path, known: list[str]) -> None:
        super().__init__(reference)
        self.reference = reference
        self.missing = missing
        self.known = known


class Cycle(Problem):
    """A value needs itself."""


class ConstantChanged(Problem):
    """A later layer touches a value whose key starts with the constant prefix."""


class TypeConflict(Problem):
    """Layers of types that do not merge."""


class TooLarge(Problem):
    """The value grows beyond the limits."""
