"""The best member of a family for each point: what a perfect encoder would put out.

By the exact ELBO, or what is the same, by KL(q || p(z|x)); of one latent. Of the Gaussians it is
found from values of the decoder alone, of other families on the nodes of the model's mixture, from
several starts. A family that says it is `local` may have better members than the one found.
"""

import dataclasses
import functools
from collections.abc import Callable, Iterator

import jax
import jax.flatten_util
import jax.numpy as jnp
import numpy as np

from spiral_vae import numerics
from spiral_vae.exact import mixture
from spiral_vae.exact.ground_truth import Density
from spiral_vae.exact.inference import (
    Posteriors,
    elbo,
    gaussians,
    in_blocks,
    jitted,
    log_likelihood,
    on_panels,
)
from spiral_vae.exact.mixture import Mixture
from spiral_vae.maths import shapes
from spiral_vae.maths.observation import Observe
from spiral_vae.model.posterior import Heads, Posterior

_CLIMB_NODES = 48  # of the quadrature with which the best Gaussian is looked for
_CLIMB_SIDES = 19  # of panels under it, where those don't resolve the decoder
_CLIMB_STEPS = 16
_CLIMBED = 1e-12  # nats that a step promises, below which it isn't taken
_AS_PROMISED = 1e-4  # nats, within which the nodes of the climb showed the right hill
_PARTS = 4  # of the exact posterior, from which a member is looked for
_LEAST = 1e-6  # standard deviation of one of them
_DESCENT_STEPS = 30
_SEEN = -30.0  # nats below the largest, of a node that still counts


@dataclasses.dataclass(frozen=True)
class Best:
    """The posteriors with the highest ELBO found for each of N points."""

    q: Posteriors
    elbo: np.ndarray  # [N], nats


def best_gaussian(x: np.ndarray, q: Posteriors, observe: Observe, density: Density) -> Best:
    """Returns the best Gaussian posterior for each x, never worse than one like the q given.

    The ELBO of each x is climbed by Newton's method over (mean, logvar) from the given q's moments
    and from the highest modes of the exact posterior, each with the width of its Laplace
    approximation. Where the nodes of that climb don't resolve the decoder, it is climbed again on
    panels that do, from the parts of the exact posterior.

    Args:
      x: [N, D].
      q: of the encoder, of any family.
      observe: p(x|z) for a batch of z.
      density: the model's, whose nodes show the modes.
    """
    given = np.concatenate([q.mean, q.logvar], axis=1)[:, None]
    starts = np.concatenate([given, _modes(x, density.fine, 2)], axis=1)  # [N, S, 2]
    found, promised = _climbed(x, starts, observe, _hermite, _CLIMB_NODES)
    candidates = np.concatenate([given, found], axis=1)
    exact = _elbos(x, candidates, observe, density)
    best, value = _highest(candidates, exact)
    # Another hill than the ELBO's, as at a jump.
    (missed,) = np.nonzero(~np.all(np.abs(promised - exact[:, 1:]) < _AS_PROMISED, axis=1))
    if len(missed):
        nodes = density.coarse
        parts = np.stack(_parted(*_around(x[missed], nodes))[:2], axis=-1)
        under = functools.partial(_on_panels, nodes=nodes)
        found, _ = _climbed(x[missed], parts, observe, under, len(nodes.z))
        other, height = _highest(found, _elbos(x[missed], found, observe, density))
        better = ~(height <= value[missed])
        best[missed[better]], value[missed[better]] = other[better], height[better]
    return Best(gaussians(best[:, :1], best[:, 1:]), value)


def _highest(q: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns for each point the best of its S, [N, 2] of [N, S, 2], and its value, [N]."""
    row, best = np.arange(len(q)), np.argmax(np.where(np.isfinite(values), values, -np.inf), axis=1)
    return q[row, best], values[row, best]


def _elbos(x: np.ndarray, q: np.ndarray, observe: Observe, density: Density) -> np.ndarray:
    """Returns the exact ELBO, [N, S], of S Gaussians (mean, logvar) for each x, [N, S, 2]."""
    num = q.shape[1]
    flat = gaussians(*np.split(q.reshape(-1, 2), 2, axis=1))
    return elbo(np.repeat(x, num, axis=0), flat, observe, density).elbo.reshape(-1, num)


def _climbed(
    x: np.ndarray, starts: np.ndarray, observe: Observe, under: Callable, num_nodes: int
) -> tuple[np.ndarray, np.ndarray]:
    """Returns what `_climb` reaches for each x from S starts, [N, S, 2], and its ELBO, [N, S]."""
    num = starts.shape[1]
    found, value = in_blocks(
        lambda x, q: _climb(x, q, observe, under),
        num_nodes,
        np.repeat(x, num, axis=0),
        starts.reshape(-1, 2),
    )
    return found.reshape(starts.shape), value.reshape(-1, num)


def best_member(
    x: np.ndarray, q: Posteriors, observe: Observe, density: Density, best: Best
) -> Best:
    """Returns the best member found of q's family for each x, never worse than the q given.

    KL(q || p(z|x)) is descended by Newton's method over the heads, from the given q, from the
    member near the best Gaussian, and from the one near the parts of the exact posterior. It is
    written as the sum of w (q log(q / p) - q + p) over the nodes, which is not negative even where
    q slips between them.

    Args:
      x: [N, D].
      q: of the encoder.
      observe: p(x|z) for a batch of z.
      density: the model's.
      best: the best Gaussians.
    """
    if q.family.gaussian:
        return best
    nodes = density.coarse  # fine enough to search on
    candidates: list[Posteriors] = []
    for start in (q, *_starts(x, q.family, best.q, nodes)):
        candidates += [start, refined(x, start, nodes)]
    values = np.array([elbo(x, own, observe, density).elbo for own in candidates])
    first = np.argmax(np.where(np.isfinite(values), values, -np.inf), axis=0)
    row = np.arange(len(x))
    chosen = {
        name: np.stack([own.heads[name] for own in candidates])[first, row] for name in q.heads
    }
    return Best(Posteriors(q.family, chosen), values[first, row])


def refined(
    x: np.ndarray, q: Posteriors, nodes: Mixture, steps: int = _DESCENT_STEPS
) -> Posteriors:
    """Returns posteriors after so many steps of Newton's method on KL(q || p(z|x)), from q on."""

    def block(x: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, ...]:
        heads = _descend(q[rows], _around(x, nodes), steps)
        return tuple(heads[name] for name in q.heads)

    heads = in_blocks(block, len(nodes.z), x, np.arange(len(x)))
    return Posteriors(q.family, dict(zip(q.heads, heads, strict=True)))


def _starts(
    x: np.ndarray, family: Posterior, best: Posteriors, nodes: Mixture
) -> Iterator[Posteriors]:
    """Yields the family's members near the best Gaussians and near mixtures like p(z|x)."""
    alone = (best.mean, best.logvar, np.zeros_like(best.mean))
    for start in (alone, _parted(*_around(x, nodes))):
        with numerics.double():
            near = _near(family, *map(jnp.asarray, start))
        if near is not None:
            yield Posteriors(family, jax.tree.map(np.asarray, near))


def _parted(
    z: np.ndarray, weight: np.ndarray, log_p: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns means, log variances and log shares, [N, _PARTS], of parts of p(z|x).

    The posterior is cut at its minima; the lightest parts are left out, or the heaviest are cut
    into halves, until there are as many as wanted.
    """
    found: list[list[tuple[float, float, float]]] = []
    for row, density in zip(z, np.exp(log_p), strict=True):
        order = np.argsort(row)
        place, height = row[order], density[order]
        mass = (weight[len(found)] * density)[order]
        inner = height[1:-1]
        cuts = np.flatnonzero((inner < height[:-2]) & (inner <= height[2:])) + 1
        parts = np.split(np.arange(len(row)), cuts)
        parts = sorted(parts, key=lambda part: -mass[part].sum())[:_PARTS]
        while len(parts) < _PARTS:
            heaviest = parts.pop(0)
            total = np.cumsum(mass[heaviest])
            half = int(np.searchsorted(total, 0.5 * total[-1])) + 1
            parts = sorted(
                [*parts, heaviest[:half], heaviest[half:]], key=lambda part: -mass[part].sum()
            )
        moments = []
        for part in parts:
            share = mass[part].sum() + 1e-300
            mean = mass[part] @ place[part] / share
            variance = mass[part] @ (place[part] - mean) ** 2 / share
            moments.append((mean, np.log(variance + _LEAST**2), np.log(share)))
        found.append(moments)
    mean, logvar, log_share = np.moveaxis(np.array(found), -1, 0)
    return mean, logvar, log_share


def _around(x: np.ndarray, nodes: Mixture) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns the nodes that p(z|x) sees, their weights, 0 for padding, and log p(z|x), [N, M]."""
    log_posterior = mixture.log_posterior(x, nodes)
    seen = log_posterior > log_posterior.max(axis=1, keepdims=True) + _SEEN
    size = min(shapes.bucket(int(np.max(np.sum(seen, axis=1)))), len(nodes.z))
    order = np.argsort(-log_posterior, axis=1)[:, :size]
    weight = np.where(np.take_along_axis(seen, order, axis=1), np.exp(nodes.log_weight[order]), 0)
    return nodes.z[order, 0], weight, np.take_along_axis(log_posterior, order, axis=1)


def _descend(q: Posteriors, around: tuple[np.ndarray, ...], steps: int) -> dict[str, np.ndarray]:
    """Returns the heads that Newton's method reaches from q; around is what `_around` gives.

    The loop and the eigenvalues are numpy's: XLA's, in several threads, wait for one another.
    """
    names = sorted(q.heads)
    ends = np.cumsum([q.heads[name].shape[1] for name in names])[:-1]
    flat = np.concatenate([q.heads[name] for name in names], axis=1).astype(float)

    def heads(flat: np.ndarray) -> dict[str, np.ndarray]:
        return dict(zip(names, np.split(flat, ends, axis=1), strict=True))

    def derivatives(flat: np.ndarray) -> tuple[np.ndarray, ...]:
        return Posteriors(q.family, heads(flat)).mapped(_kl_derivatives, *around, size=8)

    found, radius = derivatives(flat), np.ones(len(flat))
    for _ in range(steps):
        value, gradient, hessian = found
        curvature, axes = np.linalg.eigh(hessian)
        along = -np.einsum("nij,ni->nj", axes, gradient) / np.maximum(np.abs(curvature), 1e-6)
        along *= np.minimum(1, radius / np.maximum(np.linalg.norm(along, axis=1), 1e-300))[:, None]
        step = np.einsum("nij,nj->ni", axes, along)
        if np.max(-np.sum(gradient * step, axis=1)) < _CLIMBED:
            break
        tried = derivatives(flat + step)
        better = tried[0] < value
        found = tuple(
            np.where(better.reshape(-1, *(1,) * (old.ndim - 1)), new, old)
            for new, old in zip(tried, found, strict=True)
        )
        flat = np.where(better[:, None], flat + step, flat)
        radius = np.where(better, np.minimum(2 * radius, 4.0), 0.25 * radius)
    return heads(flat)


def _derivatives_of_kl(
    family: Posterior, heads: Heads, z: jax.Array, weight: jax.Array, log_p: jax.Array
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Returns KL(q || p(z|x)) of one point, its gradient [P] and its Hessian [P, P] by the heads.

    The heads lie one after the other by their names; z, weight and log_p are [M].
    """
    start, heads_of = jax.flatten_util.ravel_pytree(heads)

    def kl(flat: jax.Array) -> jax.Array:
        log_q = family.log_prob(heads_of(flat), z[None])
        return jnp.sum(weight * (jnp.exp(log_q) * (log_q - log_p - 1) + jnp.exp(log_p)))

    return (*jax.value_and_grad(kl)(start), jax.hessian(kl)(start))


_kl_derivatives = jitted(_derivatives_of_kl)
_near = jitted(lambda family, *parts: family.near(*parts))


def _modes(x: np.ndarray, nodes: Mixture, num: int) -> np.ndarray:
    """Returns (z, log variance) of the highest modes of p(z|x), [N, num, 2].

    The variance is Laplace's with second derivatives left out: 1 / (1 + ||m'||^2), m' in units of
    the noise's scale. Where there are fewer modes the highest is there again.
    """
    stride = max(1, len(nodes.z) // 8192)
    some = jax.tree.map(lambda leaf: leaf[::stride], nodes)
    z = some.z[:, 0]
    log_joint = mixture.log_joint(x, some)
    inner = log_joint[:, 1:-1]
    peak = (inner >= log_joint[:, :-2]) & (inner > log_joint[:, 2:])
    height = np.where(peak, inner, -np.inf)
    order = np.argsort(-height, axis=1)[:, :num]
    isnt = ~np.isfinite(np.take_along_axis(height, order, axis=1))
    order = np.where(isnt, order[:, :1], order) + 1
    slope = np.linalg.solve(some.observation.scale, np.gradient(some.mean, z, axis=0)[..., None])
    logvar = -np.log1p(np.sum(slope**2, axis=(1, 2)))[order]
    return np.stack([z[order], logvar], axis=-1)


def _hermite(mean: np.ndarray, logvar: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns nodes in standard deviations from the mean, and weights, [1, M] for all Gaussians."""
    del mean, logvar
    eps, weight = _rule(_CLIMB_NODES)
    return eps[None], weight[None] / weight.sum()


# Every step of a climb asks for it, and the eigenvalues behind it take as long as the step.
_rule = functools.cache(np.polynomial.hermite_e.hermegauss)


def _on_panels(
    mean: np.ndarray, logvar: np.ndarray, nodes: Mixture
) -> tuple[np.ndarray, np.ndarray]:
    """Returns the same, [N, M], by panels that resolve the decoder too."""
    z, weight = on_panels(gaussians(mean[:, None], logvar[:, None]), nodes, _CLIMB_SIDES)
    return (z - mean[:, None]) / np.exp(0.5 * logvar)[:, None], weight


def _climb(
    x: np.ndarray, q: np.ndarray, observe: Observe, under: Callable
) -> tuple[np.ndarray, np.ndarray]:
    """Returns the (mean, logvar), [N, 2], that Newton's method reaches from q, and their ELBO.

    With h_k = E_q[log p(x|z) He_k(eps)], z = mean + s eps, the derivatives of E_q log p(x|z) are
    h_k / s^k by the mean and, as d/dlogvar = s^2/2 d^2/dmean^2 under a Gaussian, sums of h_k by
    logvar (Stein's identity). So values of the decoder are enough. Steps are uphill along every
    axis of the Hessian and no longer than a radius: in units of s for the mean, nats for logvar.

    Args:
      x: [N, D].
      q: the first (mean, logvar), [N, 2].
      observe: p(x|z) for a batch of z.
      under: mean [N] and logvar [N] -> eps and weights, [N, M], of quadrature under q.
    """

    def moments(x: np.ndarray, q: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Returns the ELBO, [N], and h_1 .. h_4, [4, N]."""
        mean, logvar = q.T
        eps, weight = under(mean, logvar)
        z = mean[:, None] + np.exp(0.5 * logvar)[:, None] * eps
        found, _ = log_likelihood(observe, x, z[..., None])
        hermite = np.polynomial.hermite_e.hermevander(eps, 4)
        expected, *h = np.sum((weight * found)[..., None] * hermite, axis=1).T
        return expected - 0.5 * (mean**2 + np.expm1(logvar) - logvar), np.array(h)

    q = q.copy()
    value, h = moments(x, q)
    radius, rows = np.ones(len(q)), np.arange(len(q))  # those that still climb
    for _ in range(_CLIMB_STEPS):
        mean, logvar = q[rows].T
        h1, h2, h3, h4 = h[:, rows]
        scale = np.exp(0.5 * logvar)
        gradient = np.stack([h1 - scale * mean, 0.5 * (h2 - scale**2 + 1)], axis=-1)
        mixed, second = 0.5 * h3, 0.25 * h4 + 0.5 * (h2 - scale**2)
        hessian = np.stack([h2 - scale**2, mixed, mixed, second], axis=-1).reshape(-1, 2, 2)
        curvature, axes = np.linalg.eigh(hessian)
        along = np.einsum("nij,ni->nj", axes, gradient) / np.maximum(np.abs(curvature), 1e-6)
        step = np.einsum("nij,nj->ni", axes, along)
        length = np.maximum(np.linalg.norm(step, axis=1), 1e-300)
        step *= np.minimum(1, radius[rows] / length)[:, None]
        going = ~(np.sum(gradient * step, axis=1) < _CLIMBED)
        rows, step, scale = rows[going], step[going], scale[going]
        if not len(rows):
            break
        trial = q[rows] + step * np.stack([scale, np.ones_like(scale)], axis=-1)
        tried, new = moments(x[rows], trial)
        better = tried > value[rows]
        up = rows[better]
        q[up], value[up], h[:, up] = trial[better], tried[better], new[:, better]
        radius[rows] = np.where(better, np.minimum(2 * radius[rows], 4.0), 0.25 * radius[rows])
    return q, value
