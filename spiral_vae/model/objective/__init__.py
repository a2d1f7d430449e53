"""The kinds of objective, a file each; `base` is their contract."""

from spiral_vae.model.objective.base import Bound, Draws, Objective, Terms, draw
from spiral_vae.model.objective.elbo import Elbo
from spiral_vae.model.objective.evidence import Evidence
from spiral_vae.model.objective.iwae import Iwae

__all__ = ["Bound", "Draws", "Elbo", "Evidence", "Iwae", "Objective", "Terms", "draw"]
