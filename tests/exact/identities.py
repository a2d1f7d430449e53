"""Divergences that check the exact answers and that nothing but tests needs."""

import numpy as np
from scipy.special import logsumexp

from spiral_vae.exact.inference import Posteriors, jitted, log_likelihood
from spiral_vae.exact.mixture import Mixture, gauss_legendre
from spiral_vae.maths.gaussian import log_prior
from spiral_vae.maths.observation import Observe


def kl_to_posterior(
    x: np.ndarray, q: Posteriors, observe: Observe, log_evidence: np.ndarray
) -> np.ndarray:
    """Returns KL(q(z|x) || p(z|x)) in nats, [N], integrated over z for a one-dimensional z.

    q log(q / p) is integrated as it stands on Gauss-Legendre panels between the places of q's
    pieces and up to 9 of their scales beside them, which are also where a spline has its knots;
    with p(z|x) = p(x, z) / p(x). No closed form of any part is used, so that the identity
    log p = ELBO + KL checks `elbo` and the evidence.
    """
    place, scale = q.mapped(pieces, size=256)
    sides = np.linspace(-9, 9, 37)  # with +-1
    edges = np.sort((place[..., None] + scale[..., None] * sides).reshape(len(x), -1), axis=1)
    z, weight = gauss_legendre(edges)
    log_q = np.stack([q[i : i + 1].log_prob(row[:, None])[0] for i, row in enumerate(z)])
    log_posterior = log_likelihood(observe, x, z[..., None])[0] + log_prior(z[None])
    log_posterior -= log_evidence[:, None]
    # Where q is 1e-6 wide, z - mean has 10 digits: too few for a mass of one and terms of 1e5 nats.
    mass = weight * np.exp(log_q)
    return np.sum(mass * (log_q - log_posterior), axis=1) / np.sum(mass, axis=1)


pieces = jitted(lambda family, heads: family.pieces(heads))


def chi_square(log_posterior: np.ndarray, q: Posteriors, nodes: Mixture) -> np.ndarray:
    """Returns the chi-square divergence of p(z|x) from q(z|x), integral p^2 / q - 1, [N].

    It sets how fast the importance-weighted bound with K samples closes: the gap is about
    chi2 / (2 K) (Domke & Sheldon 2018, https://arxiv.org/abs/1808.09034). Where q's tails are too
    thin the integral diverges; that shows as an integrand that is largest at the end: inf.

    Args:
      log_posterior: log p(z|x) at the nodes, [N, K].
      q: of these points.
      nodes: of one latent dimension.
    """
    log_ratio = 2 * log_posterior - q.log_prob(nodes.z)
    with np.errstate(over="ignore"):
        value = np.expm1(logsumexp(log_ratio + nodes.log_weight, axis=1))
    peak = np.argmax(log_ratio, axis=1)
    return np.where((peak == 0) | (peak == log_ratio.shape[1] - 1), np.inf, value)
