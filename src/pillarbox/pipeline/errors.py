"""What can go wrong between a push and a report."""

from __future__ import annotations

from pillarbox.system.errors import PillarboxError, Unavailable


class PipelineError(PillarboxError):
    """A step of the pipeline cannot be taken; what was there before still stands."""


class BuildersUnavailable(PipelineError, Unavailable):
    """No builder answers now."""
