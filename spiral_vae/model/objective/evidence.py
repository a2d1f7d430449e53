"""The evidence itself: maximum likelihood by quadrature.

    log p(x) = log 1/K sum_k p(x|z_k),   z_k = Phi^-1((k + u) / K),   k = 0 .. K - 1

with u uniform, one for all points and new in each step, so that the decoder can't fit the curve to
the nodes. With nodes that stay where they are it is the generative topographic mapping (Bishop,
Svensen & Williams 1998, https://doi.org/10.1162/089976698300017953).

The decoder follows the evidence alone. The encoder learns beside it what the exact posterior on
the same nodes is, by KL(p(z|x) || q(z|x)), which no decoder waits for: a curve that the data ask
for can be found where q would still hold it back. As Adam takes no notice of the size of a
gradient, and no parameter has a share in both, they need no weights.
"""

import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp
from jax.scipy.special import ndtr, ndtri

from spiral_vae.fields import Together, field, kind, one_of
from spiral_vae.maths import gaussian
from spiral_vae.model import networks
from spiral_vae.model.objective.base import Draws, Objective, Terms
from spiral_vae.model.posterior import Posterior

_FEWEST = 16  # nodes that deserve the name of a quadrature
_OUTSIDE = 1e-4  # mass of the prior beyond the first and the last node
_STOP = 3.6  # the last of even nodes


@kind("objective", "evidence")
@dataclasses.dataclass(frozen=True, kw_only=True)
class Evidence(Objective):
    """log p(x) on num_samples nodes of equal mass, of two latents on a square of as many."""

    shares_z: ClassVar[bool] = True
    together: ClassVar[tuple[Together, ...]] = (
        Together(
            ("objective.kind", "objective.num_samples"),
            lambda kind, num_samples: kind != "evidence" or num_samples >= _FEWEST,
            f"objective.num_samples, here the nodes of z, must be >= {_FEWEST} for 'evidence', "
            "such as 256",
        ),
        Together(
            ("objective.kind", "objective.spacing", "dynamics.kind"),
            lambda kind, spacing, dynamics: (
                kind != "evidence" or spacing == "even" or dynamics == "none"
            ),
            "objective.spacing must be 'even' under dynamics",
        ),
    )

    spacing: str = field(
        "mass",
        one_of("mass", "even"),
        "of the nodes of 'evidence': of equal mass, or even in z, which dynamics need",
        static=True,
    )

    def noise_shape(self, latent_dim: int, strata: int, num_points: int) -> tuple[int, int, int]:
        del strata, num_points
        return latent_dim, 1, 1

    def noise(self, eps: jax.Array) -> jax.Array:
        # Within a step XLA would work it out again for each pair of nodes of a sequence.
        return ndtr(eps)

    def draw(
        self,
        params: networks.Params,
        x: jax.Array,
        eps: jax.Array,
        vae: networks.VAE,
        posterior: Posterior,
    ) -> Draws:
        z, log_weight = self._nodes(eps)
        heads = vae.encode(params, x)
        everywhere = jnp.broadcast_to(z, (*z.shape[:2], x.shape[-1]))
        log_ratio = gaussian.log_prior(z) - posterior.refined(0).log_prob(heads, everywhere)
        kl = jnp.zeros(x.shape[1:])
        decoded, chain = vae.decode(params, z), posterior.chain(z)
        return Draws(z, decoded, log_ratio, kl, log_ratio, log_weight, chain=chain)

    def terms(self, draws: Draws, log_prob: jax.Array, weight: jax.Array) -> Terms:
        log_evidence, share = draws.evidence(log_prob)
        known = jax.lax.stop_gradient(log_prob)
        # The terms of the bound at q = p(z|x), where it is the evidence.
        reconstruction = -jnp.sum(share * known, axis=0)
        kl = -jax.lax.stop_gradient(log_evidence) - reconstruction
        fit = kl + jnp.sum(share * draws.log_ratio, axis=0)  # KL(p(z|x) || q(z|x))
        return Terms(fit - log_evidence, reconstruction, kl)

    def shares(self, draws: Draws, log_prob: jax.Array, weight: jax.Array) -> jax.Array:
        del weight
        return draws.evidence(log_prob)[1]

    def _nodes(self, u: jax.Array) -> tuple[jax.Array, jax.Array | None]:
        """Returns nodes, [L, K, 1], and the logarithms of their masses, [K, 1]; None: equal ones.

        Args:
          u: uniform numbers, [L, 1, 1].
        """
        num = int(self.num_samples ** (1 / len(u)) + 1e-9)
        mass = (jnp.arange(num)[:, None] + u) / num  # [L, num, 1]
        even = self.spacing == "even"
        if even:
            axes = _STOP * (2 * mass - 1)
        else:
            axes = ndtri(jnp.clip(mass, _OUTSIDE, 1 - _OUTSIDE))
        grid = jnp.meshgrid(*axes[..., 0], indexing="ij")
        z = jnp.stack(grid).reshape(len(u), -1, 1)
        return z, jax.nn.log_softmax(gaussian.log_prior(z), axis=0) if even else None
