"""Checks of a method before it is trained: each is a name and a sentence of what was found.

The first that fails ends them, since what comes after stands on it.
"""

import dataclasses
import functools
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.flatten_util
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from spiral_vae import fields, numerics
from spiral_vae.config import axes, lanes
from spiral_vae.config.lanes import Group
from spiral_vae.config.values import ConfigError, settled, with_values
from spiral_vae.exact.mixture import gauss_legendre
from spiral_vae.exact.model import take
from spiral_vae.maths import gaussian
from spiral_vae.model.networks import DRAWN
from spiral_vae.model.posterior import Heads, Posterior
from spiral_vae.runs import check
from spiral_vae.training import cells
from spiral_vae.training.train import Batch, Data, Lane, State, batches, init, loss_fn, train_chunk

_EPOCHS = 20  # of the short training
_POINTS = 24  # of a batch on which estimators are looked at
_DRAWS = 400  # of its noise
_STANDARD_ERRORS = 5.0  # within which two means are the same
_STEP = 1e-4  # of finite differences, in float64
_CLOSE = 1e-4  # relative, of two numbers that quadrature gives
_REACH = 60.0  # standard deviations of an integral over a density
_PANELS = 4096  # of it, and nodes of one along draws: the density of a spline has kinks


class Fault(Exception):
    """What a check found wrong."""


@dataclasses.dataclass(frozen=True)
class Finding:
    """What a check found."""

    name: str
    sentence: str
    sound: bool


def checks(config: ConfigDict) -> Iterator[Finding]:
    """Yields what each check finds of a trial's config, up to the first that fails."""
    name = "config"
    try:
        pair = _Pair(_group(config))
        yield Finding(name, "every field is known, allowed and used", True)
        for name, function in _CHECKS.items():
            yield Finding(name, function(pair), True)
    except (Fault, ConfigError) as fault:
        yield Finding(name, str(fault), False)


def _group(config: ConfigDict) -> Group:
    """Returns two lanes of the config, which differ in the seed alone."""
    config = with_values(settled(config), {"num_seeds": 2})
    _, rows = axes.expand(config, ())
    groups = lanes.groups(config, rows)
    if len(groups) > 1:
        raise Fault("two seeds don't share a program: a static field must be a plain value")
    return groups[0]


class _Pair:
    """Two lanes, and what several checks stand on, each compiled once."""

    def __init__(self, group: Group):
        self.group = group
        self.lanes: Lane = jax.tree.map(jnp.asarray, group.lanes)
        self.lane: Lane = take(self.lanes, 0)

    @functools.cached_property
    @numerics.single()
    def started(self) -> tuple[State, Data, Batch]:
        """The fresh states of both, their data and first batches."""
        return _compiled(jax.vmap(_started))(self.lanes)

    @functools.cached_property
    def _loss_and_gradient(self) -> Callable:
        return _compiled(_loss_and_gradient)

    def loss_and_gradient(self, states: State) -> Any:
        """Returns what the first lane has on its first batch, for states of both."""
        _, _, batches = self.started
        return self._loss_and_gradient(*take((states, batches), 0), self.lane)


def _compiled(function: Callable) -> Callable:
    """Returns a function of which a check needs a few values, compiled for that."""
    return jax.jit(function, compiler_options=cells.init_options())


def _dotted(path: tuple[Any, ...]) -> str:
    """Returns the name of a leaf of params."""
    return ".".join(str(getattr(key, "key", key)) for key in path)


def _started(lane: Lane) -> tuple[State, Data, Batch]:
    state, data = init(lane)
    return state, data, take(batches(state.epoch, state.key, data, lane), 0)


def _contract(pair: _Pair) -> str:
    check.kinds([pair.group])
    classes = (type(getattr(pair.lane, name)) for name in check.CHECKED)
    own = [cls.__name__ for cls in classes if fields.is_own(cls)]
    if not own:
        return "no kind of its own"
    return f"{' and '.join(own)}: all methods, their shapes, densities that integrate to one"


@numerics.single()
def _gradients(pair: _Pair) -> str:
    states, _, _ = pair.started
    (loss, _), gradient = pair.loss_and_gradient(states)
    if not np.isfinite(loss):
        raise Fault(f"the loss of the first batch is {loss}")
    leaves = jax.tree_util.tree_leaves_with_path(gradient)
    for path, leaf in leaves:
        name = _dotted(path)
        if not np.all(np.isfinite(leaf)):
            raise Fault(f"the gradient by {name} is not finite in the first step")
        if not np.any(leaf) and DRAWN not in name:
            raise Fault(f"the gradient by {name} is 0 in the first step: is it stopped?")
    return f"loss {loss:.3f} at the start; finite, and not 0 for any of {len(leaves)} params"


def _wide(tree: Any) -> Any:
    def wide(leaf: Any) -> jax.Array:
        leaf = jnp.asarray(leaf)
        return leaf.astype(jnp.float64) if jnp.issubdtype(leaf.dtype, jnp.floating) else leaf

    return jax.tree.map(wide, tree)


def _loss_and_gradient(state: State, batch: Batch, lane: Lane) -> Any:
    return jax.value_and_grad(loss_fn, has_aux=True)(state.params, state.carried, batch, lane)


class _Density:
    """A member of a family with one latent, and integrals over it, in float64."""

    def __init__(self, lane: Lane):
        sizes = lane.posterior.heads(1)
        rng = np.random.default_rng(0)
        self.family: Posterior = _wide(lane.posterior)
        self.heads: Heads = {
            name: jnp.asarray(0.3 * rng.standard_normal(size)) for name, size in sizes.items()
        }
        mean, logvar, kl = _compiled(self._numbers)(self.heads)
        self.kl = float(kl)
        reach = _REACH * np.exp(0.5 * float(logvar[0]))
        edges = np.linspace(float(mean[0]) - reach, float(mean[0]) + reach, _PANELS + 1)
        self.node, self.weight = gauss_legendre(edges)
        self.log_prob = _compiled(
            lambda heads: self.family.log_prob(heads, jnp.asarray(self.node[None]))
        )

    def _numbers(self, heads: Heads) -> tuple[jax.Array, ...]:
        return *self.family.moments(heads), self.family.kl(heads)

    def mean(self, values: np.ndarray, heads: Heads) -> float:
        """Returns the mean under q of a function of known values at the nodes."""
        q = np.exp(self.log_prob(heads))
        seen = q > 0  # elsewhere a function may be infinite
        return float(self.weight[seen] @ (q[seen] * values[seen]))

    def mean_of_draws(self, function: Callable) -> tuple[jax.Array, Heads]:
        """Returns E_q f along what `sample` makes of noise, and its gradient by the heads."""

        def mean(heads: Heads) -> jax.Array:
            nodes = self.family.nodes(heads, _PANELS)
            return jnp.sum(jnp.exp(nodes.log_weight) * function(nodes.z[0]))

        return _compiled(jax.value_and_grad(mean))(self.heads)


def _probe(z: Any) -> Any:
    """A function whose mean feels where q is, how wide and how skewed."""
    return jnp.sin(1.3 * z) + 0.3 * z**2


def _of_density(function: Callable[[_Density], str]) -> Callable[[_Pair], str]:
    """Returns a check of a member of the posterior's family, which is left out for two latents."""

    @numerics.double()
    def check(pair: _Pair) -> str:
        one = pair.lane.model.latent_dim == 1
        return function(_Density(pair.lane)) if one else "left out for two latents"

    return check


@_of_density
def _kl(own: _Density) -> str:
    log_prior = np.asarray(gaussian.log_prior(own.node[None]))
    exact = own.mean(np.asarray(own.log_prob(own.heads)) - log_prior, own.heads)
    if not abs(own.kl - exact) < _CLOSE * max(1.0, abs(exact)):
        raise Fault(f"kl() gives {own.kl:.6f}, KL(q || p(z)) by quadrature is {exact:.6f}")
    return f"kl() is KL(q || p(z)): {own.kl:.6f} against {exact:.6f} by quadrature"


@_of_density
def _paths(own: _Density) -> str:
    drawn, along = own.mean_of_draws(_probe)
    values = np.asarray(_probe(own.node))
    exact = own.mean(values, own.heads)
    if not abs(drawn - exact) < _CLOSE * max(1.0, abs(exact)):
        raise Fault(
            f"sample() and log_prob() are of two densities: the mean of a function is {drawn:.6f} "
            f"over draws and {exact:.6f} over the density"
        )
    largest = 0.0
    for name, head in own.heads.items():
        for i in range(len(head)):
            ends = (
                own.mean(values, own.heads | {name: head.at[i].add(sign * _STEP)})
                for sign in (1, -1)
            )
            wanted = (next(ends) - next(ends)) / (2 * _STEP)
            found = float(along[name][i])
            largest = max(largest, abs(found - wanted))
            if not abs(found - wanted) < 10 * _CLOSE * max(1.0, abs(wanted)):
                raise Fault(
                    f"the gradient along sample() by head {name!r} is {found:.4f}, by finite "
                    f"differences {wanted:.4f}: is it stopped, or z no function of the heads?"
                )
    return f"along sample() as by finite differences, to {largest:.0e}"


@numerics.double()
def _estimator(pair: _Pair) -> str:
    lane = _wide(pair.lane)
    if lane.likelihood.separate:
        return "left out, as the decoder has a loss of its own"
    shape = lane.noise_shape
    state, _, batch = take(pair.started, 0)
    if state.carried:
        return "left out, as the likelihood moves with each step, beside the gradient"
    state = dataclasses.replace(state, params=_wide(state.params))  # for differences of 1e-4
    batch = _wide(dataclasses.replace(batch, x=batch.x[:, :_POINTS], weight=batch.weight[:_POINTS]))
    num = min(shape[-1], batch.x.shape[-1])
    eps = jax.random.normal(jax.random.key(1), (_DRAWS, *shape[:-1], num), jnp.float64)
    eps = lane.objective.noise(eps)
    # Nodes that all points share are no draws of q, and what the decoder follows on them is not
    # the loss's slope.
    networks = ("encoder",) if shape[-1] == 1 else ("encoder", "decoder")
    found, exact = (
        np.asarray(part)
        for part in _compiled(functools.partial(_slopes, networks))(state, batch, eps, lane)
    )
    error = float(np.std(found - exact) / np.sqrt(_DRAWS))
    mean, wanted = float(np.mean(found)), float(np.mean(exact))
    if not abs(mean - wanted) < _STANDARD_ERRORS * error + 1e-5 * max(1.0, abs(wanted)):
        raise Fault(
            f"the gradient is biased: along a random direction it is {mean:.4f} in the mean, the "
            f"slope of the mean loss is {wanted:.4f}, standard error {error:.1g}"
        )
    return (
        f"along a random direction of {' and '.join(networks)} the mean gradient is {mean:.4f}, "
        f"the slope of the mean loss {wanted:.4f}"
    )


def _slopes(
    networks: tuple[str, ...], state: State, batch: Batch, eps: jax.Array, lane: Lane
) -> tuple[jax.Array, jax.Array]:
    """Returns the gradient's part along a direction and the slope of the loss there, [draws]."""
    own = {name: state.params[name] for name in networks}
    flat, unravel = jax.flatten_util.ravel_pytree(own)
    learned = jax.tree_util.tree_map_with_path(
        lambda path, leaf: jnp.full_like(leaf, DRAWN not in _dotted(path)), own
    )
    direction = jax.random.normal(jax.random.key(2), flat.shape, flat.dtype)
    direction = direction * jax.flatten_util.ravel_pytree(learned)[0]
    direction = direction / jnp.linalg.norm(direction)

    def loss(flat: jax.Array, eps: jax.Array) -> jax.Array:
        params = state.params | unravel(flat)
        return loss_fn(params, state.carried, dataclasses.replace(batch, eps=eps), lane)[0]

    def one(eps: jax.Array) -> tuple[jax.Array, jax.Array]:
        ends = [loss(flat + sign * _STEP * direction, eps) for sign in (1, -1)]
        return jax.grad(loss)(flat, eps) @ direction, (ends[0] - ends[1]) / (2 * _STEP)

    return jax.lax.map(one, eps)


@numerics.single()
def _vmapped(pair: _Pair) -> str:
    state, _, batch = pair.started
    _, beside = _compiled(jax.vmap(_loss_and_gradient))(state, batch, pair.lanes)
    _, alone = pair.loss_and_gradient(state)
    pairs = zip(jax.tree.leaves(alone), jax.tree.leaves(beside), strict=True)
    scale = max(float(jnp.max(jnp.abs(leaf))) for leaf in jax.tree.leaves(alone))
    largest = max(float(jnp.max(jnp.abs(one - two[0]))) for one, two in pairs) / scale
    if not largest < _CLOSE:
        raise Fault(f"the gradient of a lane beside another differs by {largest:.2g} of itself")
    return f"a lane's gradient alone and beside another is the same to {largest:.0e}"


@numerics.single()
def _training(pair: _Pair) -> str:
    traced = []

    def chunk(*args: Any) -> Any:
        traced.append(args)  # when it is traced, and only then
        return train_chunk(*args)

    many = _compiled(jax.vmap(chunk, in_axes=(0, 0, 0, None)))
    state, data, _ = pair.started
    trained, _ = many(*many(state, data, pair.lanes, 1)[:1], data, pair.lanes, _EPOCHS - 1)
    before, after = (float(pair.loss_and_gradient(one)[0][0]) for one in (state, trained))
    if not np.isfinite(after) or int(trained.epoch[0]) < _EPOCHS:
        raise Fault(f"within {_EPOCHS} epochs a number is not finite")
    if not after < before:
        raise Fault(
            f"{_EPOCHS} epochs don't lower the loss: {before:.4f} before, {after:.4f} after"
        )
    if len(traced) > 1:
        raise Fault(f"the program of two lanes was compiled {len(traced)} times, must be once")
    return f"compiled once; in {_EPOCHS} epochs the loss falls from {before:.3f} to {after:.3f}"


_CHECKS: dict[str, Callable[[_Pair], str]] = {
    "contract": _contract,
    "start": _gradients,
    "kl": _kl,
    "paths": _paths,
    "estimator": _estimator,
    "vmapped": _vmapped,
    "training": _training,
}
