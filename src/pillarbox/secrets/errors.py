"""What can be wrong with a deployment's secrets."""

from __future__ import annotations

from pillarbox.system.errors import PillarboxError


class SecretsError(PillarboxError):
    """Secrets that cannot be made or opened, and why."""
