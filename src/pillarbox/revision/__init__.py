"""The cargo: one git revision of the model, rendered once. What stands above takes it, and never renders it again."""

from pillarbox.revision.deployment import Deployment
from pillarbox.revision.errors import RevisionError
from pillarbox.revision.revision import Revision, is_host

__all__ = ["Deployment", "Revision", "RevisionError", "is_host"]
