"""Training with refined potentials: the decoder of the evidence takes no notice of them."""

import dataclasses

import jax
import numpy as np
import pytest

from spiral_vae import fields, numerics
from spiral_vae.config.values import flatten
from spiral_vae.configs import dynamics
from spiral_vae.training import train
from tests.lanes import QUICKLY, assert_same

SMALL = {
    "data.num_points": 60,
    "data.length": 10,
    "data.missing": 0.1,
    "train.batch_size": 30,
    "train.num_epochs": 4,
    "model.encoder.hidden_dim": 6,
    "model.decoder.hidden_dim": 6,
    "objective.num_samples": 32,
    "start.kind": "none",
}
ELBO = {"objective.kind": "elbo", "objective.num_samples": 1, "likelihood.sigma": 0.5}


def _trained(**overrides):
    values = flatten(dynamics.get_config("1")) | SMALL | overrides
    with numerics.single():
        lane = jax.tree.map(np.float32, fields.build(train.Lane, values, seed=0))
        lane = dataclasses.replace(lane, seed=np.uint32(0))
        state, data = jax.jit(train.init)(lane)
        return jax.jit(train.train_chunk, compiler_options=QUICKLY)(state, data, lane, 4)


def test_maximum_likelihood_is_what_it_was():
    one, two = (_trained(**{"posterior.refinement": passes}) for passes in (0, 5))
    assert_same(one, two)


@pytest.mark.parametrize("passes", [1, 4])
def test_a_refined_bound_is_higher_and_all_parts_learn(passes):
    before, plain = _trained(**ELBO)
    after, refined = _trained(**ELBO, **{"posterior.refinement": passes})
    assert refined["loss"] < plain["loss"]
    for name in ("encoder", "decoder", "dynamics", "likelihood"):
        leaves = zip(*map(jax.tree.leaves, (before.params[name], after.params[name])), strict=True)
        assert any(np.any(a != b) for a, b in leaves), name
        assert all(np.all(np.isfinite(a)) for a in jax.tree.leaves(after.params[name]))
