"""How good the encoder is: the exact ELBO and the gap to the exact evidence, taken apart.

    log p(x) = ELBO(x) + KL(q(z|x) || p(z|x))
    inference gap = log p - ELBO(q) = (log p - ELBO(q*)) + (ELBO(q*) - ELBO(q))
                                    = approximation gap   + amortisation gap

with q* the best Gaussian for that x (Cremer, Li & Duvenaud 2018,
https://arxiv.org/abs/1801.03558). Everything is quadrature in float64; nothing is sampled.

Encoders and decoders are plain callables on batches, so models of any origin can be judged.
"""

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from scipy.special import logsumexp

from spiral_vae.exact import mixture
from spiral_vae.exact.mixture import Mixture, gauss_legendre
from spiral_vae.maths import observation as observation_lib
from spiral_vae.maths import shapes
from spiral_vae.maths.gaussian import LOG_2PI
from spiral_vae.maths.observation import Observation, Observe

Encode = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]  # x [N, D] -> mean, logvar [N, L]

_STOP = 9.0  # the quadrature under q reaches this many of its standard deviations
_MAX_POINTS = 1 << 18  # z that are decoded at once
_CLIMB_NODES = 64  # of the quadrature with which the best Gaussian is looked for
_CLIMB_STEPS = 16
_CLIMBED = 1e-12  # nats that a step promises, below which it isn't taken


@dataclasses.dataclass(frozen=True)
class Elbo:
    """The exact terms of the bound for N points, nats, [N] each."""

    reconstruction: np.ndarray  # -E_q log p(x|z)
    kl: np.ndarray  # KL(q(z|x) || p(z))
    residual: np.ndarray  # E_q ||x - m(z)||^2, each in units of the noise's scale at z
    error: np.ndarray  # of the reconstruction, by halving the nodes

    @property
    def elbo(self) -> np.ndarray:
        return -self.reconstruction - self.kl


def elbo(x: np.ndarray, mean: np.ndarray, logvar: np.ndarray, observe: Observe) -> Elbo:
    """Returns the exact ELBO of N points under q(z|x) = N(mean, exp(logvar)).

    The expectation over q is a trapezoid rule in (z - mean) / s. On a smooth decoder it converges
    as fast as Gauss-Hermite, and unlike it also resolves a decoder that winds within q.

    Args:
      x: [N, D].
      mean: [N, L].
      logvar: [N, L].
      observe: p(x|z) for a batch of z.
    """
    latent_dim = mean.shape[1]
    num = 256 if latent_dim == 1 else 64
    axis = np.linspace(-_STOP, _STOP, num + 1)
    eps = np.stack(np.meshgrid(*[axis] * latent_dim, indexing="ij"), -1).reshape(-1, latent_dim)
    even = np.all(np.rint((eps + _STOP) * num / (2 * _STOP)) % 2 == 0, axis=1)
    weight = np.exp(-0.5 * np.sum(eps**2, axis=1))

    def block(x, mean, logvar):
        z = mean[:, None] + np.exp(0.5 * logvar)[:, None] * eps
        log_prob, square = _log_likelihood(observe, x, z)
        coarse = log_prob[:, even] @ weight[even] / weight[even].sum()
        fine, residual = (values @ weight / weight.sum() for values in (log_prob, square))
        return fine, coarse, residual

    fine, coarse, residual = _in_blocks(block, len(eps), x, mean, logvar)
    return Elbo(
        reconstruction=-fine,
        kl=0.5 * np.sum(mean**2 + np.expm1(logvar) - logvar, axis=1),
        residual=residual,
        error=np.abs(fine - coarse),
    )


def kl_to_posterior(
    x: np.ndarray,
    mean: np.ndarray,
    logvar: np.ndarray,
    observe: Observe,
    log_evidence: np.ndarray,
) -> np.ndarray:
    """Returns KL(q(z|x) || p(z|x)) in nats, [N], integrated over z for a one-dimensional z.

    q log(q / p) is integrated as it stands on Gauss-Legendre panels over +-9 of q's standard
    deviations, with p(z|x) = p(x, z) / p(x); no closed form of any part is used, so that the
    identity log p = ELBO + KL checks `elbo` and `log_evidence`.
    """

    def block(x, mean, logvar, log_evidence):
        z, weight, log_q = _under_q(mean, logvar)
        log_likelihood, _ = _log_likelihood(observe, x, z[..., None])
        log_posterior = log_likelihood - 0.5 * (z**2 + LOG_2PI) - log_evidence[:, None]
        return (np.sum(weight * np.exp(log_q) * (log_q - log_posterior), axis=1),)

    return _in_blocks(block, 512, x, mean, logvar, log_evidence)[0]


def chi_square(
    log_posterior: np.ndarray, mean: np.ndarray, logvar: np.ndarray, nodes: Mixture
) -> np.ndarray:
    """Returns the chi-square divergence of p(z|x) from q(z|x), integral p^2 / q - 1, [N].

    It sets how fast the importance-weighted bound with K samples closes: the gap is about
    chi2 / (2 K) (Domke & Sheldon 2018, https://arxiv.org/abs/1808.09034). Where q's tails are too
    thin the integral diverges; that shows as an integrand that is largest at the end: inf.

    Args:
      log_posterior: log p(z|x) at the nodes, [N, K].
      mean: [N, 1].
      logvar: [N, 1].
      nodes: of one latent dimension.
    """
    log_q = -0.5 * ((nodes.z[:, 0] - mean) ** 2 * np.exp(-logvar) + logvar + LOG_2PI)
    log_ratio = 2 * log_posterior - log_q
    with np.errstate(over="ignore"):
        value = np.expm1(logsumexp(log_ratio + nodes.log_weight, axis=1))
    peak = np.argmax(log_ratio, axis=1)
    return np.where((peak == 0) | (peak == log_ratio.shape[1] - 1), np.inf, value)


def aggregate(mean: np.ndarray, logvar: np.ndarray) -> tuple[float, float]:
    """Returns I_q(x; z) and KL(q(z) || p(z)) in nats, for the N points and a one-dimensional z.

    q(z) is the mean of q(z|x) over the points. The two add up to the mean KL term of the ELBO
    (Hoffman & Johnson 2016, "ELBO surgery"); the entropy of q(z) and its cross entropy with p(z)
    are integrated on one set of nodes, the entropies of the q(z|x) are known.

    Args:
      mean: [N, 1].
      logvar: [N, 1].
    """
    z, weight = gauss_legendre(_panels(mean[:, 0], np.exp(0.5 * logvar[:, 0])))
    log_q = mixture.log_density(
        z[:, None],
        Mixture(
            z=mean,
            log_weight=np.full(len(mean), -np.log(len(mean))),
            log_prior=np.zeros(len(mean)),
            observation=Observation(mean=mean, scale=np.exp(0.5 * logvar)[:, None]),
        ),
    )
    mass = weight * np.exp(log_q)
    information = -mass @ log_q - np.mean(0.5 * (LOG_2PI + 1 + logvar))
    kl = mass @ (log_q + 0.5 * (z**2 + LOG_2PI))
    return float(information), float(kl)


def _panels(mean: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """Returns panel edges for a mixture of Gaussians on the line, [P + 1].

    A panel is twice as long as the narrowest Gaussian that reaches it with 9 standard deviations.
    """
    low, high = mean - _STOP * scale, mean + _STOP * scale
    place = np.unique(np.concatenate([low, high]))
    narrowest = np.full(len(place) - 1, np.inf)  # between neighbouring places
    for block in np.array_split(np.arange(len(place) - 1), -(-len(place) * len(mean) // 2**24)):
        inside = (low <= place[block, None]) & (high >= place[block + 1, None])
        narrowest[block] = np.min(np.where(inside, scale, np.inf), axis=1)
    total = np.concatenate([[0.0], np.cumsum(np.diff(place) / (2 * narrowest))])
    return np.interp(np.linspace(0, total[-1], int(np.ceil(total[-1])) + 1), total, place)


@dataclasses.dataclass(frozen=True)
class BestGaussian:
    """q*, the Gaussian with the highest ELBO for each of N points; one latent dimension."""

    mean: np.ndarray  # [N, 1]
    logvar: np.ndarray  # [N, 1]
    elbo: np.ndarray  # [N], nats


def best_gaussian(
    x: np.ndarray,
    mean: np.ndarray,
    logvar: np.ndarray,
    observe: Observe,
    nodes: Mixture,
) -> BestGaussian:
    """Returns the best Gaussian posterior for each x, never worse than the one given.

    The ELBO of each x is climbed by Newton's method over (mean, logvar) from the given q and from
    the highest modes of the exact posterior, each with the width of its Laplace approximation.

    Args:
      x: [N, D].
      mean: of the encoder's q, [N, 1].
      logvar: of the encoder's q, [N, 1].
      observe: p(x|z) for a batch of z.
      nodes: the model's mixture, whose nodes show the modes.
    """
    given = np.concatenate([mean, logvar], axis=1)[:, None]
    starts = np.concatenate([given, _modes(x, nodes)], axis=1)  # [N, S, 2]
    num_starts = starts.shape[1]
    (found,) = _in_blocks(
        lambda x, q: (_climb(x, q, observe),),
        _CLIMB_NODES,
        np.repeat(x, num_starts, axis=0),
        starts.reshape(-1, 2),
    )
    candidates = np.concatenate([given, found.reshape(starts.shape)], axis=1)
    flat = candidates.reshape(-1, 2)
    bound = elbo(np.repeat(x, num_starts + 1, axis=0), flat[:, :1], flat[:, 1:], observe)
    values = bound.elbo.reshape(len(x), -1)
    best = np.argmax(np.where(np.isfinite(values), values, -np.inf), axis=1)
    row = np.arange(len(x))
    chosen = candidates[row, best]
    return BestGaussian(chosen[:, :1], chosen[:, 1:], values[row, best])


def _modes(x: np.ndarray, nodes: Mixture, num: int = 2) -> np.ndarray:
    """Returns (z, log variance) of the highest modes of p(z|x), [N, num, 2].

    The variance is Laplace's with second derivatives left out: 1 / (1 + ||m'||^2), m' in units of
    the noise's scale.
    """
    stride = max(1, len(nodes.z) // 8192)
    some = jax.tree.map(lambda leaf: leaf[::stride], nodes)
    z = some.z[:, 0]
    log_joint = mixture.log_joint(x, some)
    inner = log_joint[:, 1:-1]
    peak = (inner >= log_joint[:, :-2]) & (inner > log_joint[:, 2:])
    order = np.argsort(np.where(peak, -inner, np.inf), axis=1)[:, :num] + 1
    slope = np.linalg.solve(some.observation.scale, np.gradient(some.mean, z, axis=0)[..., None])
    logvar = -np.log1p(np.sum(slope**2, axis=(1, 2)))[order]
    return np.stack([z[order], logvar], axis=-1)


def _climb(x: np.ndarray, q: np.ndarray, observe: Observe) -> np.ndarray:
    """Returns the (mean, logvar), [N, 2], that Newton's method reaches from q for x [N, D].

    With h_k = E_q[log p(x|z) He_k(eps)], z = mean + s eps, the derivatives of E_q log p(x|z) are
    h_k / s^k by the mean and, as d/dlogvar = s^2/2 d^2/dmean^2 under a Gaussian, sums of h_k by
    logvar (Stein's identity). So values of the decoder are enough. Steps are uphill along every
    axis of the Hessian and no longer than a radius: in units of s for the mean, nats for logvar.
    """
    eps, weight = np.polynomial.hermite_e.hermegauss(_CLIMB_NODES)
    hermite = (weight / weight.sum())[:, None] * np.polynomial.hermite_e.hermevander(eps, 4)

    def moments(q: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Returns the ELBO, [N], and h_1 .. h_4, [4, N]."""
        mean, logvar = q.T
        z = mean[:, None] + np.exp(0.5 * logvar)[:, None] * eps
        log_likelihood, _ = _log_likelihood(observe, x, z[..., None])
        expected, *h = (log_likelihood @ hermite).T
        return expected - 0.5 * (mean**2 + np.expm1(logvar) - logvar), np.array(h)

    value, (h1, h2, h3, h4) = moments(q)
    radius = np.ones(len(q))
    for _ in range(_CLIMB_STEPS):
        mean, logvar = q.T
        scale = np.exp(0.5 * logvar)
        gradient = np.stack([h1 - scale * mean, 0.5 * (h2 - scale**2 + 1)], axis=-1)
        mixed, second = 0.5 * h3, 0.25 * h4 + 0.5 * (h2 - scale**2)
        hessian = np.stack([h2 - scale**2, mixed, mixed, second], axis=-1).reshape(-1, 2, 2)
        curvature, axes = np.linalg.eigh(hessian)
        along = np.einsum("nij,ni->nj", axes, gradient) / np.maximum(np.abs(curvature), 1e-6)
        step = np.einsum("nij,nj->ni", axes, along)
        step *= np.minimum(1, radius / np.maximum(np.linalg.norm(step, axis=1), 1e-300))[:, None]
        if np.max(np.sum(gradient * step, axis=1)) < _CLIMBED:
            break
        trial = q + step * np.stack([scale, np.ones_like(scale)], axis=-1)
        tried, h = moments(trial)
        better = tried > value
        q = np.where(better[:, None], trial, q)
        value = np.where(better, tried, value)
        h1, h2, h3, h4 = np.where(better, h, (h1, h2, h3, h4))
        radius = np.where(better, np.minimum(2 * radius, 4.0), 0.25 * radius)
    return q


def _under_q(mean: np.ndarray, logvar: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns z, quadrature weights and log q over +-9 standard deviations, [N, 512] each."""
    eps, weight = gauss_legendre(np.linspace(-_STOP, _STOP, 33))
    scale = np.exp(0.5 * logvar)
    log_q = -0.5 * (eps**2 + logvar + LOG_2PI)
    return mean + scale * eps, scale * weight, log_q


def _log_likelihood(
    observe: Observe, x: np.ndarray, z: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Returns log p(x|z) and ||x - m(z)||^2 in units of the scale, for x [N, D], z [N, M, L]."""

    def block(x: np.ndarray, z: np.ndarray) -> tuple[jax.Array, jax.Array]:
        return _likelihoods(x, observe(z))

    flat = z.reshape(-1, z.shape[-1])
    with jax.enable_x64(True):
        both = shapes.mapped(block, np.repeat(x, z.shape[1], axis=0), flat)
    return tuple(values.reshape(z.shape[:2]) for values in both)


@jax.jit
def _likelihoods(x: jax.Array, observation: Observation) -> tuple[jax.Array, jax.Array]:
    def one(x: jax.Array, observation: Observation) -> tuple[jax.Array, jax.Array]:
        y = observation_lib.whiten(x - observation.mean, observation.scale)
        return observation.log_prob(x), jnp.sum(y**2)

    return jax.vmap(one)(x, observation)


def _in_blocks(function: Callable, nodes: int, *arrays: np.ndarray) -> tuple[np.ndarray, ...]:
    """Returns function's [N]-shaped results, computed for so many points that memory is bounded."""
    size = max(1, _MAX_POINTS // nodes)
    num = len(arrays[0])
    blocks = [function(*(a[i : i + size] for a in arrays)) for i in range(0, num, size)]
    return tuple(np.concatenate(parts) for parts in zip(*blocks, strict=True))
