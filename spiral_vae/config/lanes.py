"""From a config to lanes and groups, and back to one row of results a lane.

Numbers of the config become leaves of `train.Lane` and run side by side in one compiled program.
What changes shapes or the program is `train.Program`; lanes with different programs form groups,
trained one after the other and joined again in the order of the product.
"""

import dataclasses
from collections.abc import Sequence

import jax
import numpy as np
from ml_collections import ConfigDict

from spiral_vae.config import command_line as config_lib
from spiral_vae.model import likelihood as likelihood_lib
from spiral_vae.model import networks
from spiral_vae.model.likelihood import Likelihood
from spiral_vae.process.spiral import Spiral
from spiral_vae.training import train


@dataclasses.dataclass(frozen=True)
class Group:
    """Lanes that share a program."""

    program: train.Program
    lanes: train.Lane  # leaves [R]
    index: np.ndarray  # [R], the lanes' places in the sweep


def program_of(config: ConfigDict) -> train.Program:
    """Returns what a config fixes at compilation."""
    model, likelihood = config.model, likelihood_of(config)
    detached = getattr(likelihood, "stabiliser", None) == "faithful"
    return train.Program(
        vae=networks.VAE(
            encoder=networks.Encoder(latent_dim=model.latent_dim, **model.encoder),
            decoder=networks.Decoder(**model.decoder, heads=likelihood.heads, detached=detached),
        ),
        num_points=config.data.num_points,
        design=config.data.design,
        batch_size=config.train.batch_size,
        shuffle=config.train.shuffle,
        objective=config.objective.kind,
        num_samples=config.objective.num_samples,
        num_epochs=config.train.num_epochs,
        schedule=config.optimizer.schedule,
    )


def lane_of(config: ConfigDict, seed: int) -> train.Lane:
    """Returns the numbers of a config, scalars in full precision; training rounds to float32."""
    data, optimizer = config.data, config.optimizer
    lane = train.Lane(
        seed=seed,
        spiral=Spiral(
            omega=data.omega,
            rdot=data.rdot,
            noise_sigma=tuple(
                data.noise_sigma if own is None else own
                for own in (data.noise_sigma_x, data.noise_sigma_y)
            ),
            noise_slope=data.noise_slope,
            noise_angle=data.noise_angle,
            u_start=data.u_start,
            u_stop=data.u_stop,
            t_law=data.t_law,
        ),
        likelihood=likelihood_of(config),
        beta=config.objective.beta,
        kl_warmup=config.objective.kl_warmup,
        encoder_learning_rate=optimizer.encoder_learning_rate,
        decoder_learning_rate=optimizer.decoder_learning_rate,
        likelihood_learning_rate=config.likelihood.learning_rate,
        decoder_weight_decay=optimizer.decoder_weight_decay,
        variance_weight_decay=config.likelihood.weight_decay,
        decay_every=optimizer.decay_every,
        decay_factor=optimizer.decay_factor,
        warmup=optimizer.warmup,
    )
    return dataclasses.replace(jax.tree.map(np.float64, lane), seed=np.uint32(seed))


_COVARIANCE = {
    "closed_form": "isotropic",
    "learned": "isotropic",
    "per_dimension": "per_dimension",
    "full_covariance": "full",
}


def likelihood_of(config: ConfigDict) -> Likelihood:
    """Returns the likelihood of a config."""
    own = config.likelihood
    if own.kind == "fixed":
        return likelihood_lib.Fixed(sigma=own.sigma)
    if own.kind == "geco":
        return likelihood_lib.Geco(
            sigma=own.sigma,
            kappa=own.sigma if own.kappa is None else own.kappa,
            rate=own.geco_rate,
            averaging=own.geco_averaging,
            search=own.kappa is None,
        )
    if own.kind == "heteroscedastic":
        return likelihood_lib.Heteroscedastic(
            sigma=own.sigma,
            floor=own.floor,
            exponent=own.beta_nll,
            warmup=own.warmup,
            rate=own.averaging,
            stabiliser=own.stabiliser,
        )
    covariance = _COVARIANCE[own.kind]
    warmup = own.warmup if own.stabiliser == "warmup" else None
    if own.kind == "learned" or own.estimator == "learned":
        return likelihood_lib.Learned(sigma=own.sigma, warmup=warmup, covariance=covariance)
    return likelihood_lib.ClosedForm(
        sigma=own.sigma,
        rate=own.averaging if own.estimator == "moving_average" else 1.0,
        warmup=warmup,
        covariance=covariance,
        estimator=own.estimator,
    )


def groups(config: ConfigDict, rows: Sequence[config_lib.Lane]) -> list[Group]:
    """Returns the groups of a sweep, in the order in which their first lanes come.

    Args:
      config: the whole config.
      rows: the lanes' own fields, as `config.expand` gives them.
    """
    members: dict[tuple, list[tuple[int, train.Lane]]] = {}
    before: config_lib.Lane = {}
    for index, row in enumerate(rows):
        if before != row | {"seed": before.get("seed")}:  # else they differ by the seed alone
            own = config_lib.lane_config(config, row)
            lane, program = lane_of(own, row["seed"]), program_of(own)
        before, lane = row, dataclasses.replace(lane, seed=np.uint32(row["seed"]))
        members.setdefault((program, jax.tree.structure(lane)), []).append((index, lane))
    return [
        Group(
            program=program,
            lanes=jax.tree.map(lambda *leaves: np.stack(leaves), *(lane for _, lane in lanes)),
            index=np.asarray([index for index, _ in lanes]),
        )
        for (program, _), lanes in members.items()
    ]
