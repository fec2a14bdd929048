"""What can go wrong between rendered manifests and a running cluster."""

from __future__ import annotations

from pathlib import Path

from pillarbox.system.errors import PillarboxError


class RolloutError(PillarboxError):
    """A deployment could not be made what the model says."""


class Unreachable(RolloutError):
    """The API server does not answer, or not to us."""


class Refused(RolloutError):
    """Pillarbox itself will not do this, because it could not be undone; nothing was written."""


class ApiError(RolloutError):
    """The API server answered, and refused.

    ``status`` is the HTTP status, ``reason`` the server's word for it (``Invalid``, ``Conflict``), ``causes`` the
    fields it blames as ``(field, message)``.
    """

    def __init__(
        self,
        message: str,
        *,
        status: int,
        reason: str,
        causes: tuple[tuple[str, str], ...] = (),
        file: str | Path | None = None,
        hint: str | None = None,
    ) -> None:
        super().__init__(message, file=file, hint=hint)
        self.status = status
        self.reason = reason
        self.causes = causes
