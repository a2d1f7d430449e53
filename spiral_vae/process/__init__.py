"""What makes the data: processes, known curves among them, a file each."""

from spiral_vae.process.base import Data, Process
from spiral_vae.process.curve import Curve, PlaneCurve
from spiral_vae.process.spiral import Spiral

__all__ = ["Curve", "Data", "PlaneCurve", "Process", "Spiral"]
