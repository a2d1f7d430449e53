"""The kinds of posterior, a file each; `base` is their contract."""

from spiral_vae.model.posterior.base import Heads, Nodes, Posterior
from spiral_vae.model.posterior.full_covariance import FullCovariance
from spiral_vae.model.posterior.gaussian import Gaussian
from spiral_vae.model.posterior.mixture import Mixture
from spiral_vae.model.posterior.potential import Potential
from spiral_vae.model.posterior.spline import Spline

__all__ = [
    "FullCovariance",
    "Gaussian",
    "Heads",
    "Mixture",
    "Nodes",
    "Posterior",
    "Potential",
    "Spline",
]
