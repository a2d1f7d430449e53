"""A user's kinds are held to their contracts before anything is trained.

What a class does wrong becomes a sentence that names its file and its method.
"""

import traceback
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NoReturn

import jax
import jax.numpy as jnp
import numpy as np

from spiral_vae import fields, numerics
from spiral_vae.config.lanes import Group
from spiral_vae.config.values import ConfigError
from spiral_vae.exact.mixture import gauss_legendre
from spiral_vae.maths.observation import Observation
from spiral_vae.maths.ramp import Time
from spiral_vae.model.likelihood import Likelihood
from spiral_vae.model.objective import Draws, Objective
from spiral_vae.model.posterior import Posterior
from spiral_vae.process import Curve, Process
from spiral_vae.training.train import Lane

_NUM_SAMPLES, _NUM_POINTS = 3, 4
_TOLERANCE = 1e-3  # of integrals that should be one
_REACH = 60.0  # standard deviations of an integral over a density


@numerics.single()
def kinds(groups: Sequence[Group]) -> None:
    """Raises ConfigError if a user's kind, of a lane of any group, breaks its contract."""
    for group in groups:
        for name, check in CHECKED.items():
            if fields.is_own(type(getattr(group.lanes, name))):
                # As training has it: the first of the group's lanes, in float32.
                lane = jax.tree.map(lambda leaf: jnp.asarray(leaf[0]), group.lanes)
                check(getattr(lane, name), lane)


def _fail(part: Any, method: str, problem: str) -> NoReturn:
    cls = type(part)
    where = fields.source(cls) or cls.__module__
    call = "()" * callable(getattr(cls, method, None))  # else it is a value, or a part of a result
    raise ConfigError(f"{where}: {cls.__name__}.{method}{call} {problem}")


def _call(part: Any, method: str, *args: Any) -> Any:
    """Returns what a method gives; an error in it is the user's."""
    try:
        return getattr(part, method)(*args)
    except Exception as error:  # the class is the user's and may do anything
        file = str(fields.source(type(part)))
        frames = traceback.extract_tb(error.__traceback__)
        lines = [frame.lineno for frame in frames if frame.filename == file]
        where = f"in line {lines[-1]}, " if lines else ""
        first = (str(error) or "no message").splitlines()[0]
        _fail(part, method, f"fails {where}{type(error).__name__}: {first}")


def _shape(part: Any, method: str, found: Any, wanted: tuple[int, ...], meaning: str) -> None:
    shape = getattr(found, "shape", None)
    if shape != wanted:
        what = f"an array of shape {list(shape)}" if shape is not None else f"{found!r}"
        _fail(part, method, f"gives {what}, must be {meaning}, here {list(wanted)}")
    if not np.all(np.isfinite(found)):
        _fail(part, method, "gives numbers that are not finite")


def _one(
    part: Any, method: str, total: float, over: str, what: str = "the log of a density"
) -> None:
    if not abs(total - 1) < _TOLERANCE:
        _fail(part, method, f"is {what} that integrates to {total:.4g} over {over}")


def _heads(part: Any, dim: int) -> dict[str, int]:
    found = _call(part, "heads", dim)
    named = isinstance(found, dict) and all(isinstance(name, str) for name in found)
    if not named or not found or not all(isinstance(size, int) for size in found.values()):
        _fail(part, "heads", f"gives {found!r}, must be a dict of names and sizes")
    return found


def _values(sizes: dict[str, int], *shape: int) -> dict[str, jax.Array]:
    """Returns heads as a fresh network may put them out."""
    rng = np.random.default_rng(0)
    return {
        name: jnp.asarray(0.3 * rng.standard_normal((size, *shape)), jnp.float32)
        for name, size in sizes.items()
    }


def _process(process: Process, lane: Lane) -> None:
    dim, num = getattr(process, "dim", None), process.num_points
    if not isinstance(dim, int) or dim < 1:
        _fail(process, "dim", f"is {dim!r}, must be the number of data dimensions")
    if isinstance(process, Curve):  # before `sample`, which is made of it
        _curve(process)
    data = _call(process, "sample", jax.random.key(0))
    _shape(process, "sample().x", getattr(data, "x", None), (num, dim), "[num_points, dim]")


def _curve(curve: Curve) -> None:
    pieces = np.asarray(_call(curve, "pieces"))
    if pieces.ndim != 2 or pieces.shape[1] != 2 or not np.all(pieces[:, 0] < pieces[:, 1]):
        _fail(curve, "pieces", f"gives {pieces.tolist()}, must be intervals of t, [P, 2]")
    t = jnp.asarray(pieces[0].mean(), jnp.float32)
    _shape(curve, "point", _call(curve, "point", t), (curve.dim,), "the point of one t, [dim]")
    found = _call(curve, "observation", t)
    if not (isinstance(found, Observation) and found.noise.gaussian):
        _fail(curve, "observation", "must give an Observation with Gaussian noise")
    node, weight = gauss_legendre(np.linspace(pieces[:, 0], pieces[:, 1], 65, axis=1))
    density = np.asarray(_call(curve, "density", jnp.asarray(node, jnp.float32)))
    _one(curve, "density", float(np.sum(weight * density)), "its pieces", "a density")
    mass = jnp.linspace(0.05, 0.95, 19)
    again = _call(curve, "cdf", _call(curve, "quantile", mass))
    if not np.allclose(again, mass, atol=1e-3):
        _fail(curve, "cdf", "must be the inverse of quantile()")


def _posterior(posterior: Posterior, lane: Lane) -> None:
    latent_dim = lane.model.latent_dim
    heads = _values(_heads(posterior, latent_dim), _NUM_POINTS)
    num = _NUM_SAMPLES * posterior.strata
    eps = jax.random.normal(jax.random.key(0), (latent_dim, num, _NUM_POINTS))
    z = _call(posterior, "sample", heads, eps)
    _shape(posterior, "sample", z, eps.shape, "[latents, samples, points]")
    log_prob = _call(posterior, "log_prob", heads, z)
    _shape(posterior, "log_prob", log_prob, eps.shape[1:], "[samples, points]")
    if posterior.stratified:
        log_mass = _call(posterior, "log_mass", heads)
        _shape(posterior, "log_mass", log_mass, (posterior.strata, _NUM_POINTS), "[strata, points]")
    _shape(posterior, "kl", _call(posterior, "kl", heads), (_NUM_POINTS,), "[points]")
    if latent_dim == 1:
        one = {name: head[:, 0] for name, head in heads.items()}
        mean, logvar = (float(value[0]) for value in _call(posterior, "moments", one))
        reach = _REACH * np.exp(0.5 * logvar)
        node, weight = gauss_legendre(np.linspace(mean - reach, mean + reach, 513))
        log_prob = _call(posterior, "log_prob", one, jnp.asarray(node, jnp.float32)[None])
        _one(posterior, "log_prob", float(weight @ np.exp(np.asarray(log_prob, float))), "z")


def _likelihood(likelihood: Likelihood, lane: Lane) -> None:
    dim = lane.data.dim
    sizes = _heads(likelihood, dim)
    if sizes.get("mean") != dim:
        _fail(likelihood, "heads", f"gives {sizes}, must have 'mean' of the size {dim}")
    start = _call(likelihood, "init", dim)
    if not (isinstance(start, tuple) and [type(part) for part in start] == [dict, dict]):
        _fail(likelihood, "init", "must give two dicts: params and what is carried")
    values = start[0] | start[1]
    heads, x = _values(sizes), jnp.full((dim,), 0.1)
    found = _call(likelihood, "observation", values, heads)
    if not isinstance(found, Observation):
        _fail(likelihood, "observation", f"gives {found!r}, must be an Observation")
    _shape(likelihood, "observation().mean", found.mean, (dim,), "[dimensions]")
    if np.shape(found.scale) not in ((), (dim,), (dim, dim)):
        _fail(
            likelihood,
            "observation",
            f"gives a scale of shape {list(np.shape(found.scale))}, must be one of [], [{dim}] "
            f"and [{dim}, {dim}]",
        )
    _shape(likelihood, "log_prob", _call(likelihood, "log_prob", values, x, heads), (), "a scalar")
    y = np.linspace(-_REACH, _REACH, 2**16 + 1)
    density = np.exp(np.asarray(_call(found.noise, "log_prob", jnp.asarray(y)[:, None]), float))
    _one(found.noise, "log_prob", float(np.sum(density[:, 0]) * (y[1] - y[0])), "y")
    if lane.encoder.any:
        drawn = _call(found.noise, "sample", jax.random.key(0), (dim,))
        _shape(found.noise, "sample", drawn, (dim,), "the shape asked for")
    carried = _call(likelihood, "update", start[1], jnp.eye(dim), jnp.ones(()), _time())
    if jax.tree.map(jnp.shape, carried) != jax.tree.map(jnp.shape, start[1]):
        _fail(likelihood, "update", "must give what is carried in the shapes that init() gives")


def _time() -> Time:
    return Time(jnp.zeros(()), jnp.zeros(()))


def _objective(objective: Objective, lane: Lane) -> None:
    def draws() -> Iterator[jax.Array]:
        for seed in range(4):
            yield jax.random.normal(jax.random.key(seed), (lane.objective.num_samples, _NUM_POINTS))

    z, log_ratio, log_prob, kl = draws()
    weight = _call(objective, "weight", _time())
    _shape(objective, "weight", jnp.asarray(weight), (), "a scalar")
    given = (Draws(z[None], {}, log_ratio, jnp.abs(kl[0]), log_ratio), log_prob, weight)
    terms = _call(objective, "terms", *given)
    for name in ("loss", "reconstruction", "kl"):
        _shape(objective, f"terms().{name}", getattr(terms, name, None), (_NUM_POINTS,), "[points]")
    shares = _call(objective, "shares", *given)
    _shape(objective, "shares", shares, log_prob.shape, "[samples, points]")
    if not np.allclose(np.sum(shares, axis=0), 1, atol=1e-4):
        _fail(objective, "shares", "must add up to 1 over the samples")


CHECKED: dict[str, Callable[[Any, Lane], None]] = {
    "data": _process,
    "posterior": _posterior,
    "likelihood": _likelihood,
    "objective": _objective,
}
