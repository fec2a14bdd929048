"""What can be wrong with a revision as a whole, beyond its nodes, its images and its manifests."""

from __future__ import annotations

from pillarbox.system.errors import PillarboxError


class RevisionError(PillarboxError):
    """A revision holds what no deployment can be: a host without a usable name, a deployment with two clusters."""
