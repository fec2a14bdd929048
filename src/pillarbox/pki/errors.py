"""What can go wrong with certificates and keys."""

from __future__ import annotations

from pillarbox.system.errors import PillarboxError


class PkiError(PillarboxError):
    """A request for a certificate or key that cannot be granted, or a store that cannot be trusted."""
