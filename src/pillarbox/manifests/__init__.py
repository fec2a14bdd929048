"""Where it runs: the pillar under ``kubernetes:control``, rendered to Kubernetes objects and to files."""

from pillarbox.manifests.checks import doubts
from pillarbox.manifests.errors import ManifestError
from pillarbox.manifests.manifest import Manifest
from pillarbox.manifests.render import render

__all__ = ["Manifest", "ManifestError", "doubts", "render"]
