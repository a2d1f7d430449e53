"""Curves that people know, a file each; they are even in their usual parameter."""

from spiral_vae.process.curves.circle import Circle
from spiral_vae.process.curves.eight_gaussians import EightGaussians
from spiral_vae.process.curves.figure_eight import FigureEight
from spiral_vae.process.curves.helix import Helix
from spiral_vae.process.curves.lissajous import Lissajous
from spiral_vae.process.curves.rings import Rings
from spiral_vae.process.curves.s_curve import SCurve
from spiral_vae.process.curves.swiss_roll import SwissRoll
from spiral_vae.process.curves.two_moons import TwoMoons

__all__ = [
    "Circle",
    "EightGaussians",
    "FigureEight",
    "Helix",
    "Lissajous",
    "Rings",
    "SCurve",
    "SwissRoll",
    "TwoMoons",
]
