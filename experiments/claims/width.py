"""Does a network of a fixed width close the amortisation gap, however many points there are?

Claim (Margossian & Blei 2024, https://arxiv.org/abs/2307.11018): in a simple hierarchical model the
best factorised q of each point is one function of x, so that a network can match it, and the width
that it takes does not grow with the number of points.

    python -m experiments.claims.width

Their nonlinear example: theta, z_i ~ N(0, 1), x_i = theta + z_i sin z_i + z_i + exp(cos z_i) eps_i,
all q Gaussian, two ReLU layers for the mean and two for the log scale. It is run as the model says,
and as the published code (https://github.com/charlesm93/AVI-when-and-why) has it, which draws z
with a standard deviation of 5 and leaves the log of the scale, cos z, out of its likelihood. Here
nothing is sampled: theta is integrated in closed form and z by quadrature. The optimum of each
point is looked for from a grid of starts. 2 seeds, each with points and networks of its own.

Besides, factorised q are found by Adam from where the code starts them: whether that is their
optimum, as a gap to it needs it to be.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from experiments.claims import drawing
from experiments.experiment import Experiment, main
from spiral_vae import numerics

SPREADS = {"as the model says": 1.0, "as the code has it": 5.0}  # of z in the data
WIDTHS = (1, 2, 4, 8, 16, 32)
NUM_POINTS = (100, 1_000, 10_000)
SHOWN = 1_000  # points of the figure
NUM_SEEDS = 2
STEPS = 2_000
BATCH = 256
MOST_FOLLOWED = 100  # points whose factorised q Adam looks for
RATE = 1e-2  # of Adam, falling to 0 along a cosine
NODES, FINE_NODES = 25, 41  # of the quadrature under q, in training and in the answers
_STARTS = (np.linspace(-16, 16, 161), np.array([-2.5, -1.5, -0.75, 0.0]))  # means, log scales


class Q(NamedTuple):
    """Gaussians of single z: means and log scales, [N]."""

    mean: jax.Array
    log_scale: jax.Array


class Theta(NamedTuple):
    """The Gaussian of theta."""

    mean: jax.Array
    variance: jax.Array


def draw(seed: int, num: int, spread: float) -> tuple[np.ndarray, float]:
    """Returns points [num] of a theta of their own, and that theta."""
    rng = np.random.default_rng([seed, num])
    theta, z = rng.normal(), spread * rng.normal(size=num)
    return theta + z * np.sin(z) + z + np.exp(np.cos(z)) * rng.normal(size=num), theta


def _nodes(q: Q, num: int) -> tuple[jax.Array, np.ndarray]:
    """Returns z [..., num] and weights [num] of the trapezoid rule under each q."""
    eps = np.linspace(-6, 6, num)
    weight = np.exp(-0.5 * eps**2)
    return q.mean[..., None] + jnp.exp(q.log_scale)[..., None] * eps, weight / weight.sum()


class Moments(NamedTuple):
    """Under each q of a z: all that the ELBO of any point needs, which is a quadratic in x."""

    precision: jax.Array  # E exp(-2 cos z)
    first: jax.Array  # E g exp(-2 cos z), g = z sin z + z
    second: jax.Array  # E g^2 exp(-2 cos z)
    rest: jax.Array  # what does not depend on x


def moments(q: Q, normed: bool, num: int) -> Moments:
    """Returns them by quadrature.

    Args:
      q: of some z.
      normed: whether the log of the scale is in the likelihood.
      num: nodes of the quadrature.
    """
    z, weight = _nodes(q, num)
    cosine, g = jnp.cos(z), z * jnp.sin(z) + z
    precision = jnp.exp(-2 * cosine)
    rest = (-0.5 * z**2 - normed * cosine) @ weight
    return Moments(
        precision @ weight,
        (g * precision) @ weight,
        (g**2 * precision) @ weight,
        rest + q.log_scale + 0.5 * (1 - np.log(2 * np.pi)),
    )


def bound_of(x: jax.Array, under: Moments, theta: Theta) -> jax.Array:
    """Returns the ELBO's part of each point in nats, of x [N] and moments [N]."""
    away = x - theta.mean
    square = under.precision * (away**2 + theta.variance) - 2 * under.first * away + under.second
    return under.rest - 0.5 * square


def of_theta(theta: Theta) -> jax.Array:
    """Returns the ELBO's part of theta, -KL(q || N(0, 1)), nats."""
    return 0.5 * (1 + jnp.log(theta.variance) - theta.mean**2 - theta.variance)


def best_theta(x: jax.Array, q: Q) -> Theta:
    """Returns the best q of theta for those of z."""
    under = moments(q, True, FINE_NODES)
    total = 1 + jnp.sum(under.precision)
    return Theta(jnp.sum(under.precision * x - under.first) / total, 1 / total)


@jax.jit
def total(x: jax.Array, q: Q, theta: Theta, normed: bool) -> jax.Array:
    """Returns the ELBO, nats."""
    return jnp.sum(bound_of(x, moments(q, normed, FINE_NODES), theta)) + of_theta(theta)


@jax.jit
def searched(x: jax.Array, theta: Theta, normed: bool) -> Q:
    """Returns the best q found for each point, climbed from the best of a grid."""
    grid = Q(*(jnp.asarray(part.ravel()) for part in np.meshgrid(*_STARTS)))
    under = moments(grid, normed, FINE_NODES)
    rows = jax.lax.map(lambda x: jnp.argmax(bound_of(x, under, theta)), x, batch_size=256)
    return climbed(x, Q(grid.mean[rows], grid.log_scale[rows]), theta, normed)


@functools.partial(jax.jit, static_argnames=("steps",))
def climbed(x: jax.Array, q: Q, theta: Theta, normed: bool, steps: int = 10) -> Q:
    """Returns q after steps of Newton's method, damped so that no bound falls."""

    def value(x: jax.Array, one: jax.Array) -> jax.Array:
        return bound_of(x, moments(Q(one[0], one[1]), normed, FINE_NODES), theta)

    def climb(x: jax.Array, one: jax.Array) -> jax.Array:
        def step(carry: Any, _: None) -> tuple[Any, None]:
            one, damping = carry
            slope = jax.grad(value, 1)(x, one)
            curve, axes = jnp.linalg.eigh(-jax.hessian(value, 1)(x, one))
            move = axes @ ((axes.T @ slope) / (jnp.abs(curve) + damping))
            new = one + jnp.clip(move, -0.5, 0.5)
            better = value(x, new) > value(x, one)
            damping = jnp.where(better, damping / 8, damping * 8)
            return (jnp.where(better, new, one), damping), None

        return jax.lax.scan(step, (one, jnp.ones(())), None, length=steps)[0][0]

    pairs = jnp.stack(q, axis=1)
    found = jax.lax.map(lambda both: climb(*both), (x, pairs), batch_size=256)
    return Q(found[:, 0], found[:, 1])


def factorised(x: np.ndarray, theta: float, normed: bool) -> tuple[Q, Theta]:
    """Returns the best q of each z and of theta, in turns from the true theta on."""
    points = jnp.asarray(x)
    of = Theta(jnp.asarray(theta), jnp.asarray(1 / len(x)))
    q = searched(points, of, normed)
    for _ in range(3):
        of = best_theta(points, q)
        q = climbed(points, q, of, normed, steps=3)
    of = best_theta(points, q)
    q = searched(points, of, normed)
    return q, best_theta(points, q)


def init(key: jax.Array, width: int) -> list[list[tuple[jax.Array, jax.Array]]]:
    """Returns the layers of two networks, uniform in +-1/sqrt(fan_in)."""
    networks = []
    for own in jax.random.split(key, 2):
        layers = []
        for key, before, after in zip(
            jax.random.split(own, 3), (1, width, width), (width, width, 1), strict=True
        ):
            kernel, bias = jax.random.split(key)
            reach = before**-0.5
            layers.append(
                (
                    jax.random.uniform(kernel, (after, before), minval=-reach, maxval=reach),
                    jax.random.uniform(bias, (after,), minval=-reach, maxval=reach),
                )
            )
        networks.append(layers)
    return networks


def encode(networks: list, x: jax.Array) -> Q:
    """Returns q of each point x [N]."""

    def through(layers: list) -> jax.Array:
        out = x[None]
        for kernel, bias in layers[:-1]:
            out = jax.nn.relu(kernel @ out + bias[:, None])
        return (layers[-1][0] @ out + layers[-1][1][:, None])[0]

    return Q(*(through(layers) for layers in networks))


def _trained(
    params: Any,
    x: jax.Array,
    of: Callable[[Any, jax.Array], Q],
    rows: jax.Array,
    size: jax.Array | int,
    normed: bool,
    num: int,
) -> Any:
    """Returns params after steps of Adam on the ELBO.

    Args:
      params: of the q of z.
      x: points, some of them perhaps more than once.
      of: (params, rows) -> q of some points.
      rows: those of each step, [S, B].
      size: how many different points there are.
      normed: see `moments`.
      num: nodes of the quadrature.
    """
    optimizer = optax.adam(optax.cosine_decay_schedule(RATE, len(rows)))
    params = (params, jnp.zeros(()), jnp.zeros(()))  # with mean and log variance of theta

    def loss(params: Any, rows: jax.Array) -> jax.Array:
        own, mean, log_variance = params
        theta = Theta(mean, jnp.exp(log_variance))
        points = bound_of(x[rows], moments(of(own, rows), normed, num), theta)
        return -jnp.mean(points) - of_theta(theta) / size

    def step(carry: Any, rows: jax.Array) -> tuple[Any, None]:
        params, state = carry
        updates, state = optimizer.update(jax.grad(loss)(params, rows), state)
        return (optax.apply_updates(params, updates), state), None

    return jax.lax.scan(step, (params, optimizer.init(params)), rows)[0][0][0]


def amortised(x: np.ndarray, seed: int, width: int, steps: int, normed: bool) -> list:
    """Returns networks trained on batches of points x [N]."""
    rows = np.random.default_rng([seed, 1]).integers(len(x), size=(steps, BATCH))
    # Of one shape whatever N is, so that it is compiled once.
    padded = jnp.asarray(np.resize(x, max(NUM_POINTS)), jnp.float32)
    return _amortised(padded, jnp.asarray(rows), jax.random.key(seed), width, len(x), normed)


@functools.partial(jax.jit, static_argnames=("width",))
def _amortised(
    x: jax.Array, rows: jax.Array, key: jax.Array, width: int, size: int, normed: bool
) -> list:
    def of(networks: list, rows: jax.Array) -> Q:
        return encode(networks, x[rows])

    return _trained(init(key, width), x, of, rows, size, normed, NODES)


@functools.partial(jax.jit, static_argnames=("steps",))
def followed(x: jax.Array, key: jax.Array, steps: int, normed: bool) -> Q:
    """Returns factorised q after steps of Adam from where the published code starts them."""
    start = Q(*jax.random.uniform(key, (2, len(x))))
    rows = jnp.broadcast_to(jnp.arange(len(x)), (steps, len(x)))

    def of(q: Q, rows: jax.Array) -> Q:
        return Q(q.mean[rows], q.log_scale[rows])

    return _trained(start, x, of, rows, len(x), normed, FINE_NODES)


def measured(
    spread: float, num: int, seed: int, widths: tuple[int, ...], steps: int
) -> list[dict[str, Any]]:
    """Returns a row for each width, and one of factorised q that Adam found, width 0."""
    normed = spread == 1.0
    x, theta = draw(seed, num, spread)
    with numerics.single():
        single, key = jnp.asarray(x, jnp.float32), jax.random.key(seed)
        found: dict[int, Any] = {w: amortised(x, seed, w, steps, normed) for w in widths}
        by_adam = followed(single, key, steps, normed) if num <= MOST_FOLLOWED else None
    with numerics.double():
        points = jnp.asarray(x)
        q, of = factorised(x, theta, normed)
        top = total(points, q, of, normed)
        rows = []
        for width, networks in found.items():
            own = encode(jax.tree.map(lambda leaf: jnp.asarray(leaf, float), networks), points)
            rows.append((width, own))
        if by_adam is not None:
            rows.append((0, Q(*(jnp.asarray(part, float) for part in by_adam))))
        return [
            {
                "spread": spread,
                "num_points": num,
                "seed": seed,
                "width": width,
                "gap": float((top - total(points, own, best_theta(points, own), normed)) / num),
                "bound": float(top / num),
            }
            for width, own in rows
        ]


def shown(spread: float, num: int, width: int, steps: int) -> dict[str, np.ndarray]:
    """Returns the mean of the best q and of a network against x, at so many points."""
    normed = spread == 1.0
    x, theta = draw(0, num, spread)
    x = np.sort(x)
    with numerics.single():
        own = encode(amortised(x, 0, width, steps, normed), jnp.asarray(x, jnp.float32))
    with numerics.double():
        q, _ = factorised(x, theta, normed)
    return {"x": x, "best": np.asarray(q.mean), "network": np.asarray(own.mean)}


def width(experiment: Experiment) -> None:
    quick = experiment.quick
    numbers, widths, steps = ((20,), WIDTHS[1:2], 20) if quick else (NUM_POINTS, WIDTHS, STEPS)
    rows = [
        {"setting": name, **row}
        for name, spread in SPREADS.items()
        for num in numbers
        for seed in range(1 if quick else NUM_SEEDS)
        for row in measured(spread, num, seed, widths, steps)
    ]
    num = min(numbers[-1], SHOWN)
    lines = {name: shown(spread, num, widths[-1], steps) for name, spread in SPREADS.items()}
    experiment.save(drawing.width(rows, lines), rows)
    for key in dict.fromkeys((row["setting"], row["num_points"], row["width"]) for row in rows):
        own = [row for row in rows if (row["setting"], row["num_points"], row["width"]) == key]
        gap = np.array([row["gap"] for row in own])
        print(
            f"{key[0]}, {key[1]} points, {f'width {key[2]}' if key[2] else 'factorised, by Adam'}: "
            f"gap {np.mean(gap):.4f} +- {np.std(gap) / np.sqrt(len(gap)):.4f}, least "
            f"{np.min(gap):+.4f}; best ELBO {np.mean([row['bound'] for row in own]):.3f}"
        )


if __name__ == "__main__":
    main(width)
