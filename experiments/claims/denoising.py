"""The ELBO with noise on what the encoder sees.

E log p(x|z) - KL(q(z|x') || p(z)),   z ~ q(z|x'),   x' = x + input_noise eps

(Im et al. 2017, https://arxiv.org/abs/1511.06406; as a regulariser of the encoder: Shu et al. 2018,
https://arxiv.org/abs/1805.08913). The decoder still has to explain x itself.
"""

import dataclasses
from typing import ClassVar

from spiral_vae import NOT_NEGATIVE, Bound, Number, Terms, field, kind


@kind("objective", "denoising")
@dataclasses.dataclass(frozen=True, kw_only=True)
class Denoising(Bound):
    """For one latent and points in the plane."""

    dim: ClassVar[int] = 2  # of the points

    input_noise: Number = field(0.2, NOT_NEGATIVE, "standard deviation of the encoder's noise")

    def noise_shape(self, latent_dim, strata, num_points):
        return latent_dim, self.num_samples * strata + self.dim, num_points

    def draw(self, params, x, eps, vae, posterior):
        own, of_x = eps[:, : -self.dim], eps[0, -self.dim :]
        return super().draw(params, x + self.input_noise * of_x, own, vae, posterior)

    def terms(self, draws, log_prob, weight):
        reconstruction = -draws.mean(log_prob)
        return Terms(reconstruction + weight * draws.kl, reconstruction, draws.kl)
