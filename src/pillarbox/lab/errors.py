"""What can go wrong with a lab."""

from __future__ import annotations

from pillarbox.system.errors import PillarboxError


class LabError(PillarboxError):
    """The machine, its engine or a host of the lab is not what the lab needs."""
