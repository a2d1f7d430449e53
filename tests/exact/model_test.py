"""A trained lane as functions: the networks again, in plain numpy."""

import jax
import numpy as np

from spiral_vae.exact import model
from spiral_vae.model import networks
from spiral_vae.model.dynamics import Independent
from spiral_vae.model.likelihood import Fixed, FullCovariance
from spiral_vae.model.likelihood.estimator import ByGradient
from spiral_vae.model.networks import Decoder, Encoder, Hidden, Networks
from spiral_vae.model.objective import Elbo
from spiral_vae.process import Spiral
from spiral_vae.start import Nothing
from spiral_vae.training import train
from spiral_vae.training.dreams import Dreams
from spiral_vae.training.optimizer import Optimizer
from spiral_vae.training.train import Lane, Train
from tests.exact.families import Bare


def _vae():
    return networks.VAE(
        data_dim=2,
        latent_dim=1,
        encoder=networks.Network(
            hidden=Hidden(hidden_dim=8, hidden_layers=2), heads=(("mean", 1), ("logvar", 1))
        ),
        decoder=networks.Network(
            hidden=Hidden(hidden_dim=8, hidden_layers=1), heads=(("mean", 2),)
        ),
    )


def test_functions_of_a_lane_are_the_network_in_double_precision():
    vae = _vae()
    params = vae.init(jax.random.key(0)) | {"likelihood": {}}
    encode, observe = model.functions_of(vae, Fixed(sigma=0.3), params)
    p = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), params)
    z = np.random.default_rng(0).normal(size=(5, 1))

    def dense(x, layer):
        return x @ layer["kernel"] + layer["bias"]

    own = dense(np.tanh(dense(z, p["decoder"]["hidden_0"])), p["decoder"]["mean"])
    found = observe(z)
    assert found.mean.dtype == found.scale.dtype == np.float64
    np.testing.assert_allclose(found.mean, own, atol=1e-14)  # rounding of float64, not of float32
    np.testing.assert_array_equal(found.scale, [0.3 * np.eye(2)] * 5)
    x = np.random.default_rng(1).normal(size=(7, 2))
    hidden = np.tanh(dense(x, p["encoder"]["hidden_0"]))
    hidden = np.tanh(dense(hidden, p["encoder"]["hidden_1"]))
    heads = encode(x)
    assert set(heads) == {"mean", "logvar"}
    for name, head in heads.items():
        np.testing.assert_allclose(head, dense(hidden, p["encoder"][name]), atol=1e-14)


def test_functions_of_a_lane_take_the_noise_from_the_params():
    """As training stores them: log standard deviations and a unit lower triangle."""
    vae = _vae()
    learned = FullCovariance(sigma=0.3, estimator=ByGradient())
    own = {"log_scale": np.log([0.1, 0.5]), "lower": np.array([[9.0, 9.0], [-2.0, 9.0]])}
    params = vae.init(jax.random.key(0)) | {"likelihood": own}
    _, observe = model.functions_of(vae, learned, params)
    expected = [[0.1, 0], [-2 * 0.5, 0.5]]
    np.testing.assert_allclose(observe(np.zeros((3, 1))).scale, [expected] * 3, atol=1e-15)


def test_a_lane_as_functions_is_judged_by_its_own_family_and_curve():
    lane = Lane(
        seed=0,
        data=Spiral(num_points=10, omega=2.0, noise_sigma=1.0),
        model=Networks(
            latent_dim=1,
            encoder=Encoder(hidden_dim=8, hidden_layers=1),
            decoder=Decoder(hidden_dim=4, hidden_layers=1),
        ),
        posterior=Bare(),
        likelihood=Fixed(sigma=0.3),
        objective=Elbo(),
        encoder=Dreams(),
        optimizer=Optimizer(),
        train=Train(batch_size=5),
        start=Nothing(),
        dynamics=Independent(),
    )
    state, data = train.init(lane)
    found = model.of_lane(lane, state.all_params, data)
    assert found.posterior == Bare()
    assert found.curve == jax.tree.map(float, lane.data)
    np.testing.assert_array_equal(found.x, data.x)
    assert set(found.encode(found.x)) == {"place", "log_scale"}
    z = np.zeros((3, 1))
    np.testing.assert_array_equal(found.decode(z), found.observe(z).mean)
    q = found.posteriors(found.x)
    report = model.judge(found, gap_points=2)
    order = np.argsort(found.t)
    np.testing.assert_allclose(report.gaps.q.mean, q.mean[order[[0, -1]]], atol=1e-12)
    assert report.metrics["sigma"] == 0.3
    assert report.metrics["kl_to_prior"] == np.mean(q.kl[order])
