"""What can be wrong with a revision as a whole, beyond its nodes, its images and its manifests."""

from __future__ import annotations

from pillarbox.system.errors import PillarboxError


class RevisionError(PillarboxError):
    """A revision does not exist, its tree holds what no model may hold, or what it says cannot be one deployment."""
