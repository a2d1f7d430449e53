"""The C kernel that speed is measured against does the work of a train step."""

import shutil

import jax
import numpy as np
import pytest

from benchmarks import kernel
from spiral_vae.maths.ramp import Time
from spiral_vae.training import train
from tests.lanes import make_lane

pytestmark = pytest.mark.skipif(not shutil.which("cc"), reason="needs a C compiler")


def _flat(params):
    """Params in the order of the kernel's struct."""
    encoder, decoder = params["encoder"], params["decoder"]
    parts = [encoder["hidden_0"]["kernel"], encoder["hidden_0"]["bias"]]
    parts += [encoder[head]["kernel"] for head in ("mean", "logvar")]
    parts += [encoder[head]["bias"] for head in ("mean", "logvar")]
    parts += [decoder["hidden_0"]["kernel"], decoder["hidden_0"]["bias"]]
    parts += [decoder["mean"]["kernel"].T, decoder["mean"]["bias"]]
    return np.concatenate([np.ravel(part) for part in parts]).astype(np.float32)


def test_steps_of_the_kernel_are_train_steps():
    library = kernel.library(hidden=8, batch_size=12, num_points=24)
    rng = np.random.default_rng(0)
    lane = make_lane(hidden_dim=8)
    params = lane.vae.init(jax.random.key(0)) | {"likelihood": {}}
    flat = _flat(params)
    assert library.vae_num_params() == len(flat)
    first, second = np.zeros_like(flat), np.zeros_like(flat)
    carry = params, train._ADAM.init(params), {}
    one, zero = np.float32(1), np.float32(0)
    for count in range(1, 6):
        x, eps = (rng.normal(size=(size, 12)).astype("f") for size in (2, 1))
        batch = train.Batch(x, eps[:, None], np.ones(12, "f"), one, Time(zero, zero), one)
        carry, metrics = train.train_step(carry, batch, lane)
        loss = library.vae_step(flat, first, second, count, x, eps, 0.5, 0.01)
        # float32, a rational tanh and sums in another order
        assert loss == pytest.approx(float(metrics["loss"]), rel=1e-4)
        np.testing.assert_allclose(flat, _flat(carry[0]), atol=2e-4)
    assert np.max(np.abs(flat - _flat(params))) > 0.02


def test_training_by_the_kernel_gets_where_other_training_gets():
    """16 seeds of the basic run: after 950 epochs `benchmarks.ours` has a mean loss of 5.0 nats."""
    run = kernel.make(seeds=16, num_points=200, hidden=32, cores=1)
    start = run(1)
    run(949)
    later = np.mean([run(1) for _ in range(5)])
    assert start > 30
    assert later == pytest.approx(5.0, abs=0.2)
