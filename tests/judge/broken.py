"""Files of a user's that break a contract, each in one way, and a word of the right sentence."""

_POSTERIOR = """\
import dataclasses

import jax
import jax.numpy as jnp

from spiral_vae import Posterior, base_config, kind


@kind("posterior", "mine")
@dataclasses.dataclass(frozen=True, kw_only=True)
class Mine(Posterior):
    def heads(self, latent_dim):
        return {{"mean": latent_dim, "logvar": latent_dim}}

    def sample(self, heads, eps):
        return {sample}

    def log_prob(self, heads, z):
        y = (z - heads["mean"][:, None]) * jnp.exp(-0.5 * heads["logvar"])[:, None]
        log_prob = -0.5 * (y**2 + heads["logvar"][:, None] + jnp.log(2 * jnp.pi))
        return {log_prob}

    {kl}


def get_config():
    return base_config({{"posterior.kind": "mine"}})
"""
_SAMPLE = 'heads["mean"][:, None] + jnp.exp(0.5 * heads["logvar"])[:, None] * eps'
_KL = """\
def kl(self, heads):
        mean, logvar = heads["mean"], heads["logvar"]
        return {sign}0.5 * jnp.sum(mean**2 + jnp.exp(logvar) - logvar - 1, axis=0)
"""
_OBJECTIVE = """\
import dataclasses

import jax.numpy as jnp

from spiral_vae import Objective, Terms, base_config, kind


@kind("objective", "mine")
@dataclasses.dataclass(frozen=True, kw_only=True)
class Mine(Objective):
    {method}


def get_config():
    return base_config({{"objective.kind": "mine"}})
"""
_TERMS = """\
def terms(self, draws, log_prob, weight):
        reconstruction = -draws.mean(log_prob)
        return Terms({loss}, reconstruction, draws.kl)
"""


def posterior(sample=_SAMPLE, log_prob="jnp.sum(log_prob, axis=0)", sign=""):
    return _POSTERIOR.format(sample=sample, log_prob=log_prob, kl=_KL.format(sign=sign))


def objective(loss="reconstruction + draws.kl"):
    return _OBJECTIVE.format(method=_TERMS.format(loss=loss))


SOUND = {"posterior": posterior(), "objective": objective()}
# This one can't even be loaded.
MISSING = _OBJECTIVE.format(method="def weight(self, time):\n        return jnp.ones(())")
# What the file is, the check that stops it, a part of the sentence.
FILES = {
    "wrong shape": (posterior(log_prob="log_prob"), "contract", "[samples, points]"),
    "density not normalised": (
        posterior(log_prob="jnp.sum(log_prob, axis=0) + 0.7"),
        "contract",
        "integrates to 2.01",
    ),
    "kl of wrong sign": (posterior(sign="-"), "kl", "by quadrature is"),
    "gradient blocked": (
        posterior(sample=_SAMPLE.replace('heads["mean"]', 'jax.lax.stop_gradient(heads["mean"])')),
        "paths",
        "head 'mean' is 0.0000",
    ),
    "nan at the start": (
        objective("reconstruction + draws.kl + jnp.log(-jnp.abs(draws.kl))"),
        "contract",
        "not finite",
    ),
}
