"""What a page has to know of a lane to evaluate it by itself, as values for JSON.

Everything is asked of the contracts: of a curve its quadrature nodes, of a likelihood its scale or
its formula. So a page knows no kind of curve or noise, and what has no such description is left
out of it.
"""

import base64
import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from spiral_vae import numerics
from spiral_vae.exact import ground_truth
from spiral_vae.model import networks
from spiral_vae.process import Curve
from spiral_vae.training.train import Lane
from spiral_vae.workdir import files

Description = dict[str, Any]
_NUM_PLACES = 400  # of a curve's piece, as it is drawn


def encoded(array: np.ndarray, dtype: str) -> str:
    """Returns an array's numbers as base64, little-endian."""
    little_endian = np.asarray(array, np.dtype(dtype).newbyteorder("<"))
    return base64.b64encode(little_endian.tobytes()).decode()


def nets(lane: Lane) -> Description:
    """Returns the sizes of a lane's networks."""
    vae = lane.vae
    return {
        "encoder": _network(vae.encoder, vae.data_dim),
        "decoder": _network(vae.decoder, vae.latent_dim),
    }


def _network(network: networks.Network, inputs: int) -> Description:
    hidden = network.hidden
    return {
        "inputs": inputs,
        "fourier": network.fourier_features,
        "hidden": [hidden.hidden_dim] * hidden.hidden_layers,
        "heads": [list(head) for head in network.heads],
    }


def weights(lane: Lane, params: networks.Params) -> np.ndarray:
    """Returns the params of both networks in the order of `nets`, [..., P], float32."""
    flat = files.flat_params(params)
    parts = []
    for name, network in (("encoder", lane.vae.encoder), ("decoder", lane.vae.decoder)):
        layers = [f"hidden_{i}" for i in range(network.hidden.hidden_layers)]
        layers += [head for head, _ in network.heads]
        parts += [f"{name}/fourier/kernel"] * bool(network.fourier_features)
        parts += [f"{name}/{layer}/{part}" for layer in layers for part in ("kernel", "bias")]
    lead = flat[parts[-1]].ndim - 1  # axes before those of a bias
    found = [flat[part].reshape(*flat[part].shape[:lead], -1) for part in parts]
    return np.concatenate(found, axis=-1, dtype=np.float32)


@numerics.double()
def noise(lane: Lane, params: networks.Params) -> Description | None:
    """Returns the noise of a lane's decoder: a constant scale [D, D] or a formula.

    None if it is neither.
    """
    likelihood = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float64), lane.likelihood)
    values = jax.tree.map(
        lambda leaf: jnp.asarray(leaf, jnp.float64), dict(params.get("likelihood", {}))
    )
    dim = lane.data.dim
    if (formula := likelihood.formula(values, dim)) is not None:
        return {
            "floor": float(formula.floor),
            "offset": np.asarray(formula.offset).tolist(),
            "factor": np.asarray(formula.factor).tolist(),
            "low": formula.low,
            "high": formula.high,
            "leastDof": formula.least_dof,
        }
    rng = np.random.default_rng(0)
    heads = {name: rng.standard_normal((3, size)) for name, size in likelihood.heads(dim).items()}
    several = [
        likelihood.observation(values, {k: jnp.asarray(v[i]) for k, v in heads.items()}).full()
        for i in range(3)
    ]
    scales = np.asarray([one.scale for one in several])
    if not several[0].noise.gaussian or np.any(scales != scales[0]):
        return None
    return {"scale": scales[0].tolist()}


def posterior(lane: Lane, kind: str) -> Description:
    """Returns the name of a lane's posterior and the constants of its family."""
    return {"kind": kind, **lane.posterior.constants}


@numerics.double()
def truth(curve: Curve) -> Description:
    """Returns a curve: quadrature nodes of its density, and its pieces as they are drawn."""
    exact = jax.tree.map(float, curve)
    nodes = ground_truth.truth_density(curve).fine
    pieces = np.asarray(exact.pieces(), np.float64)
    along = [jnp.linspace(start, stop, _NUM_PLACES) for start, stop in pieces]
    lines = [np.asarray(jax.vmap(exact.point)(one)) for one in along]
    t = nodes.z[:, 0]
    return {
        "dim": curve.dim,
        "sigma": float(np.sqrt(np.mean(nodes.noise_sigmas**2))),
        "starts": np.searchsorted(t, pieces[:, 0]).tolist(),
        "t": encoded(t, "f8"),
        "mass": encoded(nodes.mass, "f8"),
        "mean": encoded(nodes.mean, "f8"),
        "scale": encoded(nodes.observation.scale, "f8"),
        "lines": [encoded(line, "f4") for line in lines],
        "rate": _rate(exact, pieces),
    }


def _rate(curve: Curve, pieces: np.ndarray) -> float | None:
    """Returns the angle per unit t of a curve that another such angle just turns, else None."""
    omega = getattr(curve, "omega", None)
    if omega is None or curve.dim != 2:
        return None
    t = jnp.linspace(pieces[0, 0], pieces[0, 1], 9)
    faster: Any = {"omega": omega + 1.0}
    turned = dataclasses.replace(curve, **faster)
    cos, sin = jnp.cos(t), jnp.sin(t)
    x, y = jax.vmap(curve.point)(t).T
    scale = jax.vmap(curve.observation)(t).scale
    isotropic = jnp.allclose(scale, scale[:, :1, :1] * jnp.eye(2))
    same = jnp.allclose(
        jax.vmap(turned.point)(t), jnp.stack([cos * x - sin * y, sin * x + cos * y], axis=1)
    )
    return float(omega) if isotropic and same else None
