"""What the deployment is: reclass metadata, parsed, merged and interpolated."""

from pillarbox.model.errors import ModelError
from pillarbox.model.inventory import Inventory, Node
from pillarbox.model.read.tree import DirectoryTree, Tree

__all__ = ["DirectoryTree", "Inventory", "ModelError", "Node", "Tree"]
