"""The process that makes the data: a spiral, a speed law and Gaussian noise.

    u in [u_start, u_stop],  t = sqrt(u) or t = u,
    x = f(t) + noise_sigma * eps,  f(t) = rdot * t * (cos(omega t), sin(omega t)),  eps ~ N(0, I).

With t = sqrt(u) and even u the points lie about evenly along the curve, as its radius and hence
its speed grow with t.
"""

import dataclasses

import jax
import jax.numpy as jnp

from spiral_vae import gaussian

T_LAWS = ("sqrt", "uniform")
DESIGNS = ("grid", "random")


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, kw_only=True)
class Spiral:
    """A process; the numbers are leaves of a pytree, so they can be lanes of a sweep."""

    omega: jax.typing.ArrayLike  # angle per unit t, rad
    rdot: jax.typing.ArrayLike  # radius per unit t
    noise_sigma: jax.typing.ArrayLike  # standard deviation of the noise, each dimension
    u_start: jax.typing.ArrayLike
    u_stop: jax.typing.ArrayLike
    t_law: str = dataclasses.field(default="sqrt", metadata={"static": True})


def curve(t: jax.Array, spiral: Spiral) -> jax.Array:
    """Returns the noise-free point f(t), [2], for one t."""
    angle = spiral.omega * t
    return spiral.rdot * t * jnp.stack([jnp.cos(angle), jnp.sin(angle)])


def t_of_u(u: jax.Array, spiral: Spiral) -> jax.Array:
    """Returns t for u by the speed law, elementwise."""
    return jnp.sqrt(u) if spiral.t_law == "sqrt" else u


def t_density(t: jax.Array, spiral: Spiral) -> jax.Array:
    """Returns the density p(t) for u uniform on [u_start, u_stop], elementwise."""
    du_dt = 2 * t if spiral.t_law == "sqrt" else jnp.ones_like(t)
    return du_dt / (spiral.u_stop - spiral.u_start)


def t_cdf(t: jax.Array, spiral: Spiral) -> jax.Array:
    """Returns F(t), the share of points with a smaller t, elementwise; 0 to 1 over the range."""
    u = t**2 if spiral.t_law == "sqrt" else t
    return (u - spiral.u_start) / (spiral.u_stop - spiral.u_start)


def log_prob(x: jax.Array, t: jax.Array, spiral: Spiral) -> jax.Array:
    """Returns log p(x | t) in nats for one point x [2] and one t."""
    return gaussian.log_prob(x, curve(t, spiral), 2 * jnp.log(spiral.noise_sigma))


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Data:
    """A data set."""

    t: jax.Array  # the latent that made each point, [num_points]
    x: jax.Array  # [num_points, 2]


def sample(key: jax.Array, spiral: Spiral, num_points: int, design: str) -> Data:
    """Returns points of the process.

    Args:
      key: consumed.
      spiral: the process.
      num_points: how many points.
      design: 'grid' (u even, both ends included) or 'random' (u drawn uniformly).
    """
    key_u, key_eps = jax.random.split(key)
    if design == "grid":
        unit = jnp.linspace(0.0, 1.0, num_points)
    else:
        unit = jax.random.uniform(key_u, (num_points,))
    t = t_of_u(spiral.u_start + (spiral.u_stop - spiral.u_start) * unit, spiral)
    eps = jax.random.normal(key_eps, (num_points, 2))
    return Data(t, jax.vmap(curve, in_axes=(0, None))(t, spiral) + spiral.noise_sigma * eps)
