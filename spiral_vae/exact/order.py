"""Whether the latent runs along the curve.

The rank correlation of z with the place on the curve, for points without noise: 1 where z passes
along the whole curve once. It looks at the order alone, where that of noisy points falls with the
number of turns even under the exact posterior, to 0.96 for four turns. Pieces may come in any
order and either way round, and a closed one may be entered anywhere.

Traceable; in the precision of what comes in.
"""

import jax
import jax.numpy as jnp


def order(z: jax.Array, t: jax.Array, pieces: jax.Array, closed: bool = False) -> jax.Array:
    """Returns |Spearman's rho| of z and the place on the curve, in [0, 1].

    Args:
      z: [N].
      t: place of each on the curve, [N].
      pieces: the intervals of t, rising, [P, 2].
      closed: whether each piece's ends meet.
    """
    rank_z = rank(z)
    own = jnp.searchsorted(pieces[:, 0], t, side="right") - 1
    share, middle = jnp.zeros_like(z), []
    for piece, (start, stop) in enumerate(pieces):
        inside = own == piece
        along = (t - start) / jnp.where(stop > start, stop - start, 1)
        if closed:
            along = _entered(rank_z, along, inside)
        along = jnp.where(_correlation(rank_z, along, inside) < 0, 1 - along, along)
        share = jnp.where(inside, along, share)
        middle.append(jnp.sum(rank_z * inside) / jnp.maximum(jnp.sum(inside), 1))
    place = 2 * rank(jnp.stack(middle))[own] + share
    return jnp.abs(correlation(rank_z, rank(place)))


def _entered(rank_z: jax.Array, along: jax.Array, inside: jax.Array) -> jax.Array:
    """Returns the place along a closed piece, in [0, 1), from where z enters it."""
    last = jnp.argmax(jnp.where(inside, rank_z, -jnp.inf))
    first = jnp.argmin(jnp.where(inside, rank_z, jnp.inf))
    # Whichever way z goes round, one of its ends is where the place begins.
    turned = jnp.stack([(along - along[end]) % 1 for end in (first, last)])
    fit = jnp.stack([jnp.abs(_correlation(rank_z, one, inside)) for one in turned])
    return turned[jnp.argmax(fit)]


def rank(values: jax.Array) -> jax.Array:
    """Returns ranks from 0 on, [N]; ties share their mean rank."""
    ordered = jnp.sort(values)
    left, right = (jnp.searchsorted(ordered, values, side=side) for side in ("left", "right"))
    return 0.5 * (left + right - 1).astype(values.dtype)


def correlation(a: jax.Array, b: jax.Array) -> jax.Array:
    """Returns the correlation of two vectors, 0 where one of them is constant."""
    a, b = a - jnp.mean(a), b - jnp.mean(b)
    scale = jnp.sqrt(jnp.sum(a**2) * jnp.sum(b**2))
    return jnp.where(scale > 0, jnp.sum(a * b) / jnp.where(scale > 0, scale, 1.0), 0.0)


def _correlation(a: jax.Array, b: jax.Array, inside: jax.Array) -> jax.Array:
    """Returns the same of the entries inside."""
    number = jnp.maximum(jnp.sum(inside), 1)
    return correlation(*(jnp.where(inside, v, jnp.sum(v * inside) / number) for v in (a, b)))
