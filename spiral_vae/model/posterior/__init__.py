"""The kinds of posterior, a file each; `base` is their contract."""

from spiral_vae.model.posterior.base import Heads, Nodes, Posterior
from spiral_vae.model.posterior.gaussian import Gaussian

__all__ = ["Gaussian", "Heads", "Nodes", "Posterior"]
