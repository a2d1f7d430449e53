"""What makes the data: processes, known curves among them, a file each."""

from spiral_vae.process.base import Data, Process
from spiral_vae.process.curve import Curve, Interval, Pieces, PlaneCurve, PlanePieces
from spiral_vae.process.curves import (
    Circle,
    EightGaussians,
    FigureEight,
    Helix,
    Lissajous,
    Rings,
    SCurve,
    SwissRoll,
    TwoMoons,
)
from spiral_vae.process.spiral import Spiral
from spiral_vae.process.table import Table

__all__ = [
    "Circle",
    "Curve",
    "Data",
    "EightGaussians",
    "FigureEight",
    "Helix",
    "Interval",
    "Lissajous",
    "Pieces",
    "PlaneCurve",
    "PlanePieces",
    "Process",
    "Rings",
    "SCurve",
    "Spiral",
    "SwissRoll",
    "Table",
    "TwoMoons",
]
