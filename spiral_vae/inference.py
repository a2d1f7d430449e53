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
import optax
from scipy.special import logsumexp

from spiral_vae import gaussian, mixture
from spiral_vae import observation as observation_lib
from spiral_vae.gaussian import LOG_2PI
from spiral_vae.mixture import Mixture, gauss_legendre
from spiral_vae.observation import Observation, Observe

Encode = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]  # x [N, D] -> mean, logvar [N, L]

_STOP = 9.0  # the quadrature under q reaches this many of its standard deviations
_MAX_POINTS = 1 << 18  # z that are decoded at once
_CLIMB = 32  # points whose best Gaussian is looked for at once


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

    The ELBO of each x is climbed by L-BFGS over (mean, logvar) from the given q and from the
    highest modes of the exact posterior, each with the width of its Laplace approximation. The
    climb runs on a cubic interpolation of the decoder, which need not be differentiable itself;
    the ELBO of the winner is then computed with the decoder.

    Args:
      x: [N, D].
      mean: of the encoder's q, [N, 1].
      logvar: of the encoder's q, [N, 1].
      observe: p(x|z) for a batch of z.
      nodes: the model's mixture, whose nodes show the modes.
    """
    starts = np.concatenate(
        [np.stack([mean, logvar], axis=1)[..., 0][:, None], _modes(x, nodes)], axis=1
    )  # [N, S, 2]
    stop = 12.0
    axis = np.linspace(-stop, stop, 2**14 + 1)
    table = observe(axis[:, None])

    def block(x: np.ndarray, starts: np.ndarray) -> tuple[np.ndarray]:
        # Blocks of one size, so that it is compiled once.
        with jax.enable_x64(True):
            found = _climb(mixture.pad(x, _CLIMB), mixture.pad(starts, _CLIMB), table, stop)
            return (np.asarray(found)[: len(x)],)

    (found,) = _in_blocks(block, _MAX_POINTS // _CLIMB, x, starts)
    candidates = np.concatenate([starts[:, :1], found], axis=1)
    values = np.stack(
        [elbo(x, c[:, :1], c[:, 1:], observe).elbo for c in np.moveaxis(candidates, 1, 0)]
    )
    best = np.argmax(np.where(np.isfinite(values), values, -np.inf), axis=0)
    chosen = candidates[np.arange(len(x)), best]
    return BestGaussian(chosen[:, :1], chosen[:, 1:], values[best, np.arange(len(x))])


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


@jax.jit(static_argnames="num_steps")
def _climb(x, starts, table: Observation, stop, num_steps: int = 16):
    """Returns the (mean, logvar) that L-BFGS reaches from each start, [N, S, 2]."""
    node, weight = np.polynomial.hermite_e.hermegauss(64)
    weight = weight / weight.sum()
    size = len(table.mean)
    step = 2 * stop / (size - 1)
    optimizer = optax.lbfgs(memory_size=4)

    def observe(z) -> Observation:
        """Catmull-Rom interpolation of the table at one z."""
        place = jnp.clip((z + stop) / step, 1.0, size - 2.001)
        index = jnp.floor(place).astype(int)
        u = place - index

        def interpolated(leaf):
            a, b, c, d = (leaf[index + k] for k in (-1, 0, 1, 2))
            cubic = 2 * a - 5 * b + 4 * c - d + u * (3 * (b - c) + d - a)
            return b + 0.5 * u * (c - a + u * cubic)

        return jax.tree.map(interpolated, table)

    def climb(x, start):
        def negative_elbo(q):
            z = q[0] + jnp.exp(0.5 * q[1]) * node
            log_likelihood = jax.vmap(lambda z: observe(z).log_prob(x))(z)
            return gaussian.kl_to_standard(q[:1], q[1:]) - weight @ log_likelihood

        value_and_grad = optax.value_and_grad_from_state(negative_elbo)

        def body(_, carry):
            q, state = carry
            value, grad = value_and_grad(q, state=state)
            updates, state = optimizer.update(
                grad, state, q, value=value, grad=grad, value_fn=negative_elbo
            )
            return optax.apply_updates(q, updates), state

        return jax.lax.fori_loop(0, num_steps, body, (start, optimizer.init(start)))[0]

    return jax.vmap(jax.vmap(climb, in_axes=(None, 0)))(x, starts)


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
    found = observe(z.reshape(-1, z.shape[-1]))
    with jax.enable_x64(True):
        both = _likelihoods(np.repeat(x, z.shape[1], axis=0), found)
        return tuple(np.asarray(values).reshape(z.shape[:2]) for values in both)


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
