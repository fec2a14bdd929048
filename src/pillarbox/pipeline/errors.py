"""What can go wrong between a push and a report."""

from __future__ import annotations

from pillarbox.system.errors import PillarboxError


class PipelineError(PillarboxError):
    """A step of the pipeline cannot be taken; what was there before still stands."""


class Interrupted(PipelineError):
    """The run could not go on, by no fault of its revision: it is taken up again by itself."""
