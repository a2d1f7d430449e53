"""The process that makes the data: a spiral, a speed law and Gaussian noise.

    u in [u_start, u_stop],  t = sqrt(u) or t = u,
    x = f(t) + R diag(noise_sigma + noise_slope t) eps,
    f(t) = rdot t (cos(omega t), sin(omega t)),  eps ~ N(0, I),  R the rotation by noise_angle.

With t = sqrt(u) and even u the points lie about evenly along the curve, as its radius and hence
its speed grow with t. One noise_sigma for both axes and no slope make isotropic noise.
"""

import dataclasses

import jax
import jax.numpy as jnp

from spiral_vae.maths.observation import Observation

T_LAWS = ("sqrt", "uniform")
DESIGNS = ("grid", "random")


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, kw_only=True)
class Spiral:
    """A process; the numbers are leaves of a pytree, so they can be lanes of a sweep."""

    omega: jax.typing.ArrayLike  # angle per unit t, rad
    rdot: jax.typing.ArrayLike  # radius per unit t
    # Standard deviation of the noise at t = 0: one for both axes, or a pair.
    noise_sigma: jax.typing.ArrayLike | tuple[jax.typing.ArrayLike, jax.typing.ArrayLike]
    u_start: jax.typing.ArrayLike
    u_stop: jax.typing.ArrayLike
    noise_slope: jax.typing.ArrayLike = 0.0  # growth of the standard deviations per unit t
    noise_angle: jax.typing.ArrayLike = 0.0  # rotation of the axes of the noise, rad
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


def observation(t: jax.Array, spiral: Spiral) -> Observation:
    """Returns p(x | t) for one t; its scale is the Cholesky factor of the noise's covariance."""
    pair = spiral.noise_sigma
    first, second = pair if isinstance(pair, tuple) else (pair, pair)
    first, second = first + spiral.noise_slope * t, second + spiral.noise_slope * t
    cos, sin = jnp.cos(spiral.noise_angle), jnp.sin(spiral.noise_angle)
    sigma_x = jnp.hypot(cos * first, sin * second)
    covariance = cos * sin * (first**2 - second**2)
    lower = [[sigma_x, jnp.zeros_like(t)], [covariance / sigma_x, first * second / sigma_x]]
    return Observation(mean=curve(t, spiral), scale=jnp.asarray(lower))


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
    made = jax.vmap(observation, in_axes=(0, None))(t, spiral)
    return Data(t, made.mean + jnp.einsum("nij,nj->ni", made.scale, eps))
