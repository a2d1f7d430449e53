"""What ties the latents of a sequence together."""

from spiral_vae.model.dynamics.base import Dynamics, Independent
from spiral_vae.model.dynamics.markov import Markov
from spiral_vae.model.dynamics.refinement import Seen

__all__ = ["Dynamics", "Independent", "Markov", "Seen"]
