"""Densities over z at chosen points: exact posterior, encoder's and best member of its family."""

import dataclasses

import numpy as np

from spiral_vae.exact import mixture
from spiral_vae.exact.evaluate import Gaps
from spiral_vae.exact.ground_truth import Density
from spiral_vae.exact.inference import Posteriors

_GRID = np.linspace(-5, 5, 2001)
_STOP = 8.0  # of the nodes that the exact posterior is drawn from


@dataclasses.dataclass(frozen=True)
class Densities:
    """Densities over one latent z at P points, per unit of z."""

    z: np.ndarray  # rising, [K]; fine where a q is narrow
    exact: np.ndarray  # p(z|x), [P, K]
    encoder: np.ndarray  # q(z|x), [P, K]
    best: np.ndarray  # the member of q's family with the least KL to p(z|x), [P, K]


def at_points(gaps: Gaps, density: Density) -> Densities:
    """Returns the densities at points whose gaps were taken apart.

    Args:
      gaps: of P points, with their posteriors.
      density: the model's.
    """
    nodes = density.fine
    # The nodes of the mixture resolve the posterior; a grid for drawing resolves q as well.
    parts = [_GRID]
    for q in (gaps.q, gaps.member):
        parts.append((q.mean + q.scale * np.linspace(-6, 6, 241)).ravel())
    z = np.sort(np.concatenate(parts))
    inside = np.abs(nodes.z[:, 0]) < _STOP
    log_posterior = mixture.log_posterior(gaps.x, nodes)[:, inside]
    exact = np.exp([np.interp(z, nodes.z[inside, 0], row) for row in log_posterior])
    return Densities(z, exact, _density(gaps.q, z), _density(gaps.member, z))


def _density(q: Posteriors, z: np.ndarray) -> np.ndarray:
    return np.exp(q.log_prob(z[:, None]))
