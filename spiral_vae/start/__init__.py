"""What the training begins with: nothing, or places of the points along the curve."""

from spiral_vae.start.base import Nothing, Order, Start
from spiral_vae.start.order import ByOrder
from spiral_vae.start.slow import SlowFeature

__all__ = ["ByOrder", "Nothing", "Order", "SlowFeature", "Start"]
