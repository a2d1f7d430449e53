"""Exact answers about the true process and about any model, each with its error.

The true process is a `Mixture` over t, a model one over z; entropies and divergences between them
are integrals over the space of x. Those use the trapezoid rule on a square grid that covers all
places where p* is not negligible: its integrands are smooth on the scale of the noise and vanish
at the border, so the error falls exponentially with the step. In three and more dimensions, where
the grid would have too many nodes, they are means over draws.

Errors come from halving the nodes: each result is the one on the fine rule, its error the distance
to the coarse one, which overstates the error of the former by far where the rule converges.
"""

import dataclasses
import functools
from typing import NamedTuple

import jax
import numpy as np
from scipy import special

from spiral_vae import numerics
from spiral_vae.exact import mixture
from spiral_vae.exact import space as space_lib
from spiral_vae.exact.mixture import Mixture
from spiral_vae.exact.space import Estimate, Space
from spiral_vae.maths import observation as observation_lib
from spiral_vae.maths import shapes
from spiral_vae.maths.gaussian import LOG_2PI, log_prior
from spiral_vae.maths.observation import Observation, Observe
from spiral_vae.process import Curve

MAX_LATENT_DIM = 2
_MAX_SPATIAL_CELLS = 2**18  # of a space of three and more dimensions
_NUM_DRAWS = 40_000  # in place of more
_FINE_ENOUGH = 0.75  # of the step that a density asks for: 0.47 in sigma is still exact to rounding
_OUTSIDE = (
    1e-11  # mass beyond a space that may be left out, though log p - log p* be a hundred there
)
_OBSERVE = jax.jit(jax.vmap(lambda t, curve: curve.observation(t), in_axes=(0, None)))
_DENSITY = jax.jit(lambda t, curve: curve.density(t))
_PIECES = jax.jit(lambda curve: curve.pieces())
_QUANTILE = jax.jit(lambda mass, curve: curve.quantile(mass))


class CrossEntropy(NamedTuple):
    """An nll, and the error of the KL divergence that it makes."""

    value: float
    error: float
    kl_error: float  # smaller, where nll and entropy are means over the same draws
    log_density: np.ndarray  # of the model, at the nodes of the truth's space


@dataclasses.dataclass(frozen=True)
class Density:
    """A density: the same mixture on a fine and on a coarse rule."""

    fine: Mixture
    coarse: Mixture

    def log_density(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Returns log p(x) in nats and its error, [N] each, for x [N, D]."""
        value = mixture.log_density(x, self.fine)
        return value, np.abs(value - mixture.log_density(x, self.coarse))


@dataclasses.dataclass(frozen=True)
class Draws:
    """Draws of p*, in place of a grid that would have too many nodes: errors are standard errors.

    They are stratified along the curve, which a standard error does not know of: it is too large.
    """

    x: np.ndarray  # [N, D]
    density: np.ndarray  # p* of each, [N]
    coarse: np.ndarray  # [N], true for those on which two rules in z are compared

    def log_density(self, nodes: Mixture) -> np.ndarray:
        """Returns log p(x) of a mixture in nats, [N]."""
        return mixture.log_density(self.x, nodes)

    def coarse_log_density(self, nodes: Mixture) -> np.ndarray:
        """Returns the same of the coarse draws alone."""
        return mixture.log_density(self.x[self.coarse], nodes)

    def integral(self, values: np.ndarray) -> Estimate:
        """Returns the integral over the space of a function with the values [N] at the draws."""
        ratio = values / self.density
        return Estimate(float(np.mean(ratio)), float(np.std(ratio) / np.sqrt(len(ratio))))

    def coarse_integral(self, values: np.ndarray) -> float:
        """Returns the same of the values at the coarse draws alone."""
        return float(np.mean(values / self.density[self.coarse]))


def truth_density(curve: Curve) -> Density:
    """Returns p*(x), the density of the points around a curve, as mixtures over t."""
    curve = jax.tree.map(float, curve)

    def observe(t: np.ndarray) -> Observation:
        return _numpy(_OBSERVE, t[:, 0], curve)

    def log_density(t: np.ndarray) -> np.ndarray:
        with np.errstate(divide="ignore"):
            return np.log(_numpy(_DENSITY, t, curve))

    with numerics.double():
        pieces = np.asarray(_PIECES(curve), np.float64)
    return _joined(
        [_on_panels(observe, log_density, tuple(ends), np.ptp(ends) / 8) for ends in pieces]
    )


def _joined(pieces: list[Density]) -> Density:
    """Returns the density of a curve in several pieces."""
    if len(pieces) == 1:
        return pieces[0]
    sides = ([piece.fine for piece in pieces], [piece.coarse for piece in pieces])
    return Density(*(jax.tree.map(lambda *leaves: np.concatenate(leaves), *side) for side in sides))


def model_density(observe: Observe, latent_dim: int, reach: float = 1.0) -> Density:
    """Returns p(x) of a decoder with a standard normal prior, as mixtures over z.

    Args:
      observe: p(x|z) for a batch of z.
      latent_dim: L.
      reach: how far from the decoder's curve x may lie.

    Raises:
      ValueError: more than two latent dimensions, where no grid is exact at an honest price.
    """
    if latent_dim > MAX_LATENT_DIM:
        raise ValueError(
            f"exact evaluation takes at most {MAX_LATENT_DIM} latent dimensions, not {latent_dim}"
        )
    if latent_dim == 2:
        fine, coarse = (
            mixture.on_grid(observe, latent_dim, num=num, stop=8.0) for num in (401, 201)
        )
        return Density(fine, coarse)
    # A point at distance `reach` pays for |z| up to reach / sigma with its likelihood; a tanh
    # decoder is flat long before 400.
    sigma, _ = observation_lib.extremes(observe(np.linspace(-12.0, 12.0, 2**10)[:, None]))
    stop = float(np.clip(reach / sigma.min(), 12.0, 400.0))
    return _on_panels(observe, lambda z: log_prior(z[None]), (-stop, stop), 1.0, reach)


def density_around(x: np.ndarray, observe: Observe, latent_dim: int) -> Density:
    """Returns a model's density by rules that are exact at points as far out as x [N, D].

    Raises ValueError for more than two latent dimensions.
    """
    centre = observe(np.zeros((1, latent_dim))).mean
    reach = float(np.max(np.linalg.norm(x - centre, axis=1)))
    return model_density(observe, latent_dim, reach)


def _on_panels(observe, log_prior, interval, max_width, reach=1.0) -> Density:
    both = mixture.along_curve(observe, log_prior, interval, max_width=max_width, reach=reach)
    return Density(*both)


@dataclasses.dataclass(frozen=True)
class Truth:
    """All that is known exactly about a curve with noise; nats and units of x."""

    density: Density  # p*
    space: Space | Draws
    log_density: np.ndarray  # log p*(x) at the nodes of the space
    mass: Estimate  # of p* on the space, 1 if it is covered
    entropy: Estimate  # h(p*) = -E log p*(x): no model has a lower nll
    information: Estimate  # I(x; t)
    mean: np.ndarray  # E x, [D]
    covariance: np.ndarray  # of x, [D, D]
    noise_sigmas: np.ndarray  # root mean square over t of the noise in each dimension, [D]

    @property
    def noise_sigma(self) -> float:
        """The root mean square of the noise over dimensions and t: the unit of distances."""
        return float(np.sqrt(np.mean(self.noise_sigmas**2)))

    @property
    def eigenvalues(self) -> np.ndarray:
        """The eigenvalues of the covariance, falling; sigma_c = sqrt of the first."""
        return np.linalg.eigvalsh(self.covariance)[::-1]

    @property
    def isotropic_nll(self) -> float:
        """The nll of the best isotropic Gaussian: what a collapsed model can reach at best."""
        dim = len(self.mean)
        return 0.5 * dim * (LOG_2PI + 1 + np.log(np.trace(self.covariance) / dim))


def _draws(curve: Curve, density: Density) -> Draws:
    z = special.ndtri((np.arange(_NUM_DRAWS) + 0.5) / _NUM_DRAWS)[:, None]
    x = observation_lib.draw(np.random.default_rng(2), true_decoder(curve)(z))
    coarse = np.arange(_NUM_DRAWS) % 8 == 0
    return Draws(x, np.exp(mixture.log_density(x, density.fine)), coarse)


def truth(curve: Curve) -> Truth:
    """Returns the exact facts of a curve with noise (kept, as many lanes share one)."""
    return _truth(jax.tree.map(float, curve))


@functools.lru_cache(maxsize=8)
def _truth(curve: Curve) -> Truth:
    found = truth_density(curve)
    nodes: Space | Draws
    step = space_lib.step_of(found.fine)
    if curve.dim > 2 and space_lib.num_cells(found.fine, step) > _MAX_SPATIAL_CELLS:
        nodes = _draws(curve, found)
    else:
        nodes = space_lib.around(found.fine, step)
    log_density = nodes.log_density(found.fine)
    density = np.exp(log_density)
    entropy = nodes.integral(-density * log_density)
    weight = found.fine.mass
    noise = found.fine.observation
    diagonal = np.diagonal(noise.scale, axis1=1, axis2=2)
    noise_entropy = (
        0.5 * curve.dim * (LOG_2PI + 1) + weight @ np.sum(np.log(diagonal), axis=1) / weight.sum()
    )
    mean, covariance = mixture.covariance(found.fine)
    return Truth(
        density=found,
        space=nodes,
        log_density=log_density,
        mass=nodes.integral(density),
        entropy=entropy,
        information=Estimate(entropy.value - noise_entropy, entropy.error),
        mean=mean,
        covariance=covariance,
        noise_sigmas=found.fine.noise_sigmas,
    )


def cross_entropy(truth: Truth, model: Density) -> CrossEntropy:
    """Returns nll = -E_{p*} log p(x) of a model in nats; the error is the larger of x's and z's.

    KL(p* || p) is this less the entropy of the truth.
    """
    nodes, density = truth.space, np.exp(truth.log_density)
    log_density = nodes.log_density(model.fine)
    value = nodes.integral(-density * log_density)
    # The coarse rule in z is compared where the coarse rule in x has its nodes: that is enough.
    some = nodes.coarse
    change = np.abs(log_density[some] - nodes.coarse_log_density(model.coarse))
    of_z = nodes.coarse_integral(density[some] * change)
    of_x = max(value.error, truth.entropy.error)
    if isinstance(nodes, Draws):
        of_x = nodes.integral(density * (truth.log_density - log_density)).error
    return CrossEntropy(value.value, max(value.error, of_z), max(of_x, of_z), log_density)


def kl_from_truth(
    truth: Truth, model: Density, log_density: np.ndarray, max_nodes: int = 200_000
) -> Estimate:
    """Returns KL(p || p*) in nats, where a space for the model is affordable, else nan.

    That of noise with other than Gaussian tails is not: its KL may be infinite, as p*'s are.

    Args:
      truth: p*.
      model: p.
      log_density: its log p at the nodes of the truth's space, which is the model's as well where
        it is fine enough and holds all of p.
      max_nodes: of a space of the model's own.
    """
    if not model.fine.observation.noise.gaussian:
        return Estimate(np.nan, np.nan)
    shared = truth.space
    asked, least = (space_lib.step_of(one.fine) for one in (model, truth.density))
    if isinstance(shared, Space) and asked > _FINE_ENOUGH * least:
        density = np.exp(log_density)
        if abs(shared.integral(density).value - 1) < _OUTSIDE:
            return shared.integral(density * (log_density - truth.log_density))
    step = min(asked, least)
    if space_lib.num_cells(model.fine, step) > max_nodes:
        return Estimate(np.nan, np.nan)
    nodes = space_lib.around(model.fine, step)
    log_density = nodes.log_density(model.fine)
    difference = log_density - nodes.log_density(truth.density.fine)
    return nodes.integral(np.exp(log_density) * difference)


def true_decoder(curve: Curve) -> Observe:
    """Returns the decoder that makes a standard normal z the truth: t = F^-1(Phi(z))."""
    curve = jax.tree.map(float, curve)

    def observe(z: np.ndarray) -> Observation:
        t = _numpy(_QUANTILE, special.ndtr(z[:, 0]), curve)
        return _numpy(_OBSERVE, t, curve)

    return observe


def _numpy(function, values: np.ndarray, curve: Curve):
    with numerics.double():
        return shapes.mapped(lambda batch: function(batch, curve), np.asarray(values, np.float64))
