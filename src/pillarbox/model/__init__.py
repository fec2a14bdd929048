"""What the deployment is: reclass metadata, parsed, merged and interpolated."""

from pillarbox.model.errors import ModelError
from pillarbox.model.inventory import Inventory, Node

__all__ = ["Inventory", "ModelError", "Node"]
