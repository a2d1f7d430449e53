"""What the training begins with: nothing, or an order of the points along the curve."""

from spiral_vae.start.base import Nothing, Start
from spiral_vae.start.order import ByOrder

__all__ = ["ByOrder", "Nothing", "Start"]
