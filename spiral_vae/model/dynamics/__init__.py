"""What ties the latents of a sequence together."""

from spiral_vae.model.dynamics.base import Dynamics, Independent
from spiral_vae.model.dynamics.markov import Markov

__all__ = ["Dynamics", "Independent", "Markov"]
