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
from spiral_vae.training.train import Batch, Lane, State, batches, init, loss_fn, train_chunk

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
        group = _group(config)
        yield Finding(name, "every field is known, allowed and used", True)
        for name, function in _CHECKS.items():
            yield Finding(name, function(group), True)
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


def _lane(group: Group) -> Lane:
    return jax.tree.map(jnp.asarray, take(group.lanes, 0))


def _contract(group: Group) -> str:
    check.kinds([group])
    classes = (type(getattr(group.lanes, name)) for name in check.CHECKED)
    own = [cls.__name__ for cls in classes if fields.is_own(cls)]
    if not own:
        return "no kind of its own"
    return f"{' and '.join(own)}: all methods, their shapes, densities that integrate to one"


@numerics.single()
def _gradients(group: Group) -> str:
    lane = _lane(group)
    state, batch = _started(lane)
    (loss, _), gradient = _loss_and_gradient(state, batch, lane)
    if not np.isfinite(loss):
        raise Fault(f"the loss of the first batch is {loss}")
    leaves = jax.tree_util.tree_leaves_with_path(gradient)
    for path, leaf in leaves:
        name = ".".join(str(getattr(key, "key", key)) for key in path)
        if not np.all(np.isfinite(leaf)):
            raise Fault(f"the gradient by {name} is not finite in the first step")
        if not np.any(leaf) and DRAWN not in name:
            raise Fault(f"the gradient by {name} is 0 in the first step: is it stopped?")
    return f"loss {loss:.3f} at the start; finite, and not 0 for any of {len(leaves)} params"


@jax.jit
def _started(lane: Lane) -> tuple[State, Batch]:
    """Returns the fresh state of a lane and the first batch."""
    state, data = init(lane)
    return state, take(batches(state.epoch, state.key, data, lane), 0)


def _wide(tree: Any) -> Any:
    return jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float64), tree)


@jax.jit
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
        mean, logvar = self.family.moments(self.heads)
        reach = _REACH * np.exp(0.5 * float(logvar[0]))
        edges = np.linspace(float(mean[0]) - reach, float(mean[0]) + reach, _PANELS + 1)
        self.node, self.weight = gauss_legendre(edges)

    def log_prob(self, heads: Heads) -> jax.Array:
        return self.family.log_prob(heads, jnp.asarray(self.node)[None])

    def mean(self, function: Callable, heads: Heads) -> jax.Array:
        """Returns E_q f as an integral over the density."""
        q = jnp.exp(self.log_prob(heads))
        return jnp.asarray(self.weight) @ jnp.where(q > 0, q * function(self.node), 0.0)

    def mean_of_draws(self, function: Callable, heads: Heads) -> jax.Array:
        """Returns E_q f along what `sample` makes of noise."""
        nodes = self.family.nodes(heads, _PANELS)
        return jnp.sum(jnp.exp(nodes.log_weight) * function(nodes.z[0]))


def _probe(z: Any) -> Any:
    """A function whose mean feels where q is, how wide and how skewed."""
    return jnp.sin(1.3 * z) + 0.3 * z**2


def _of_density(function: Callable[[_Density], str]) -> Callable[[Group], str]:
    """Returns a check of a member of the posterior's family, which is left out for two latents."""

    @numerics.double()
    def check(group: Group) -> str:
        lane = _lane(group)
        one = lane.model.latent_dim == 1
        return function(_Density(lane)) if one else "left out for two latents"

    return check


@_of_density
def _kl(own: _Density) -> str:
    log_q = np.asarray(own.log_prob(own.heads))
    q = np.exp(log_q)
    difference = np.where(q > 0, log_q - np.asarray(gaussian.log_prior(own.node[None])), 0.0)
    exact, found = float(own.weight @ (q * difference)), float(own.family.kl(own.heads))
    if not abs(found - exact) < _CLOSE * max(1.0, abs(exact)):
        raise Fault(f"kl() gives {found:.6f}, KL(q || p(z)) by quadrature is {exact:.6f}")
    return f"kl() is KL(q || p(z)): {found:.6f} against {exact:.6f} by quadrature"


@_of_density
def _paths(own: _Density) -> str:
    drawn, exact = (float(f(_probe, own.heads)) for f in (own.mean_of_draws, own.mean))
    if not abs(drawn - exact) < _CLOSE * max(1.0, abs(exact)):
        raise Fault(
            f"sample() and log_prob() are of two densities: the mean of a function is {drawn:.6f} "
            f"over draws and {exact:.6f} over the density"
        )
    along = jax.grad(lambda heads: own.mean_of_draws(_probe, heads))(own.heads)
    largest = 0.0
    for name, head in own.heads.items():
        for i in range(len(head)):
            ends = (
                float(own.mean(_probe, own.heads | {name: head.at[i].add(sign * _STEP)}))
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
def _estimator(group: Group) -> str:
    lane = dataclasses.replace(_wide(_lane(group)), seed=jnp.zeros((), jnp.uint32))
    if lane.likelihood.separate:
        return "left out, as the decoder has a loss of its own"
    shape = lane.noise_shape
    state, batch = _started(lane)
    if state.carried:
        return "left out, as the likelihood moves with each step, beside the gradient"
    state = dataclasses.replace(state, params=_wide(state.params))  # for differences of 1e-4
    batch = dataclasses.replace(batch, x=batch.x[:, :_POINTS], weight=batch.weight[:_POINTS])
    num = min(shape[-1], batch.x.shape[-1])
    eps = jax.random.normal(jax.random.key(1), (_DRAWS, *shape[:-1], num), jnp.float64)
    # Nodes that all points share are no draws of q, and what the decoder follows on them is not
    # the loss's slope.
    networks = ("encoder",) if shape[-1] == 1 else ("encoder", "decoder")
    found, exact = (np.asarray(part) for part in _slopes(state, batch, eps, lane, networks))
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


@functools.partial(jax.jit, static_argnames="networks")
def _slopes(
    state: State, batch: Batch, eps: jax.Array, lane: Lane, networks: tuple[str, ...]
) -> tuple[jax.Array, jax.Array]:
    """Returns the gradient's part along a direction and the slope of the loss there, [draws]."""
    own = {name: state.params[name] for name in networks}
    flat, unravel = jax.flatten_util.ravel_pytree(own)
    direction = jax.random.normal(jax.random.key(2), flat.shape, flat.dtype)
    direction = direction / jnp.linalg.norm(direction)

    def loss(flat: jax.Array, eps: jax.Array) -> jax.Array:
        params = state.params | unravel(flat)
        return loss_fn(params, state.carried, dataclasses.replace(batch, eps=eps), lane)[0]

    def one(eps: jax.Array) -> tuple[jax.Array, jax.Array]:
        ends = [loss(flat + sign * _STEP * direction, eps) for sign in (1, -1)]
        return jax.grad(loss)(flat, eps) @ direction, (ends[0] - ends[1]) / (2 * _STEP)

    return jax.lax.map(one, eps)


@numerics.single()
def _vmapped(group: Group) -> str:
    both = jax.tree.map(jnp.asarray, group.lanes)
    started = jax.jit(jax.vmap(_started))(both)
    _, beside = jax.jit(jax.vmap(_loss_and_gradient))(*started, both)
    first = take((*started, both), 0)
    _, alone = _loss_and_gradient(*first)
    pairs = zip(jax.tree.leaves(alone), jax.tree.leaves(beside), strict=True)
    scale = max(float(jnp.max(jnp.abs(leaf))) for leaf in jax.tree.leaves(alone))
    largest = max(float(jnp.max(jnp.abs(one - two[0]))) for one, two in pairs) / scale
    if not largest < _CLOSE:
        raise Fault(f"the gradient of a lane beside another differs by {largest:.2g} of itself")
    return f"a lane's gradient alone and beside another is the same to {largest:.0e}"


@numerics.single()
def _training(group: Group) -> str:
    both = jax.tree.map(jnp.asarray, group.lanes)
    traced = []

    def chunk(*args: Any) -> Any:
        traced.append(args)  # when it is traced, and only then
        return train_chunk(*args)

    many = jax.jit(jax.vmap(chunk, in_axes=(0, 0, 0, None)))
    state, data = jax.jit(jax.vmap(init))(both)
    trained, _ = many(*many(state, data, both, 1)[:1], data, both, _EPOCHS - 1)
    _, batch = _started(_lane(group))
    before, after = (
        float(_loss_and_gradient(take(one, 0), batch, _lane(group))[0][0])
        for one in (state, trained)
    )
    if not np.isfinite(after) or int(trained.epoch[0]) < _EPOCHS:
        raise Fault(f"within {_EPOCHS} epochs a number is not finite")
    if not after < before:
        raise Fault(
            f"{_EPOCHS} epochs don't lower the loss: {before:.4f} before, {after:.4f} after"
        )
    if len(traced) > 1:
        raise Fault(f"the program of two lanes was compiled {len(traced)} times, must be once")
    return f"compiled once; in {_EPOCHS} epochs the loss falls from {before:.3f} to {after:.3f}"


_CHECKS: dict[str, Callable[[Group], str]] = {
    "contract": _contract,
    "start": _gradients,
    "kl": _kl,
    "paths": _paths,
    "estimator": _estimator,
    "vmapped": _vmapped,
    "training": _training,
}
