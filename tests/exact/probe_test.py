"""The cheap metrics along the training against the exact ones at its end."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special

from spiral_vae.exact import probe
from spiral_vae.exact.model import judge, of_lane
from spiral_vae.maths.observation import Observation
from spiral_vae.maths.rank import spearman
from spiral_vae.model.dynamics import Independent
from spiral_vae.model.likelihood import Fixed, FullCovariance
from spiral_vae.model.networks import Decoder, Encoder, Networks
from spiral_vae.model.objective import Elbo
from spiral_vae.model.posterior import Gaussian
from spiral_vae.process import Data, Spiral
from spiral_vae.start import Nothing
from spiral_vae.training.dreams import Dreams
from spiral_vae.training.optimizer import Optimizer
from spiral_vae.training.train import Lane, Train
from tests.exact.curves import HELIX, SEGMENTS
from tests.exact.families import Bare

PI = np.pi
BASIC = Spiral(omega=2.8 * PI, rdot=2.5, noise_sigma=0.2, u_start=0.01, u_stop=1.0)
HIDDEN = {"hidden_dim": 32, "hidden_layers": 1}
_PROBE = jax.jit(probe.probe)


def _lane(likelihood, curve=BASIC, posterior=None, latent_dim=1):
    """A run of these kinds; of the others the probe takes no notice."""
    lane = Lane(
        seed=0,
        data=curve,
        model=Networks(latent_dim=latent_dim, encoder=Encoder(**HIDDEN), decoder=Decoder(**HIDDEN)),
        posterior=posterior or Gaussian(),
        likelihood=likelihood,
        objective=Elbo(),
        encoder=Dreams(),
        optimizer=Optimizer(),
        train=Train(),
        start=Nothing(),
        dynamics=Independent(),
    )
    return jax.tree.map(jnp.float32, lane)


def _curve(u):
    t = np.sqrt(u)
    return 2.5 * np.stack([t * np.cos(2.8 * PI * t), t * np.sin(2.8 * PI * t)], axis=-1)


def _data(num=200, seed=0):
    rng = np.random.default_rng(seed)
    u = rng.permutation(np.linspace(0.01, 1, num))
    t, x = np.sqrt(u), _curve(u) + 0.2 * rng.standard_normal((num, 2))
    return t.astype(np.float32), x.astype(np.float32)


def _untrained():
    return _lane(Fixed()).vae.init(jax.random.key(0)) | {"likelihood": {}}


def _solved(inputs, outputs, scale, seed):
    """Hidden layer by chance, last layer by ridge regression: a trained network, cheaply."""
    rng = np.random.default_rng(seed)
    kernel = rng.normal(0, scale, (inputs.shape[1], 32))
    bias = rng.normal(0, scale, 32)
    hidden = np.tanh(inputs @ kernel + bias)
    hidden = np.concatenate([hidden, np.ones((len(hidden), 1))], axis=1)
    gram = hidden.T @ hidden + 1e-6 * np.eye(33)
    last = np.linalg.solve(gram, hidden.T @ outputs)
    return {"kernel": kernel, "bias": bias}, {"kernel": last[:-1], "bias": last[-1]}


def _spiral_like():
    """A decoder along the true curve and an encoder that knows about where on it a point is."""
    t, x = _data()
    z = np.linspace(-3, 3, 400)[:, None]
    decoder = _solved(z, _curve(0.01 + 0.99 * special.ndtr(z[:, 0])), 1.5, 1)
    true_z = np.clip(special.ndtri((t.astype(float) ** 2 - 0.01) / 0.99), -2.5, 2.5)
    encoder = _solved(x.astype(float), true_z[:, None], 1.0, 2)
    logvar = {"kernel": np.zeros((32, 1)), "bias": np.array([-3.0])}
    params = {
        "encoder": {"hidden_0": encoder[0], "mean": encoder[1], "logvar": logvar},
        "decoder": {"hidden_0": decoder[0], "mean": decoder[1]},
        "likelihood": {},
    }
    return jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float32), params)


def _both(params, lane, data=None):
    t, x = _data()
    data = data or Data(t=jnp.asarray(t), x=jnp.asarray(x))
    exact = judge(of_lane(lane, params, data), gap_points=2)
    error = np.std(exact.new.gap) / np.sqrt(len(exact.new.gap))
    found = {name: float(value) for name, value in _PROBE(params, data, lane).items()}
    return found, exact.metrics | {"error_of_new": error}


@pytest.mark.parametrize(
    ("model", "sigma"),
    [(_spiral_like, 0.2), (_spiral_like, 0.5), (_untrained, 0.5), (_untrained, 2.0)],
)
def test_probe_agrees_with_the_exact_evaluation(model, sigma):
    _assert_agreement(*_both(model(), _lane(Fixed(sigma=sigma))))


def test_probe_agrees_where_noise_is_uneven_in_truth_and_model():
    curve = dataclasses.replace(
        BASIC, noise_sigma_x=0.6, noise_sigma_y=0.4, noise_slope=0.1, noise_angle=0.6
    )
    scale = jnp.array([[0.5, 0.0], [-0.2, 0.3]])  # as carried, not the start
    params = _spiral_like() | {"likelihood": {"scale": scale}}
    _assert_agreement(*_both(params, _lane(FullCovariance(sigma=0.2), curve)))


@pytest.mark.parametrize("curve", [SEGMENTS, HELIX])
def test_probe_agrees_on_a_truth_in_pieces_or_in_three_dimensions(curve):
    lane = _lane(Fixed(sigma=1.0), curve)
    params = lane.vae.init(jax.random.key(0)) | {"likelihood": {}}
    _assert_agreement(*_both(params, lane, curve.sample(jax.random.key(1))))


def _assert_agreement(cheap, exact):
    gaps = {"inference_gap", "inference_gap_new"}
    assert set(cheap) == {"kl_to_truth", "kl_to_prior", "spearman", "order_of_curve"} | gaps
    # what the module promises is about 1e-3 nats; relative where the numbers are large
    for name in ("kl_to_truth", "inference_gap"):
        assert cheap[name] == pytest.approx(exact[name], abs=5e-3, rel=1e-3), name
    # an expectation against a mean over points
    new, error = exact["inference_gap_new"], exact["error_of_new"]
    assert cheap["inference_gap_new"] == pytest.approx(new, abs=4 * error + 5e-3, rel=1e-3)
    # no quadrature: float32 against float64
    assert cheap["kl_to_prior"] == pytest.approx(exact["kl_to_prior"], abs=1e-5, rel=1e-6)
    assert cheap["spearman"] == pytest.approx(exact["spearman"], abs=1e-6)
    # 256 places against 1000
    assert cheap["order_of_curve"] == pytest.approx(exact["order_of_curve"], abs=5e-3)


def test_the_spiral_like_model_is_near_the_truth():
    """Else the agreement above would have been tried on bad models only."""
    cheap, _ = _both(_spiral_like(), _lane(Fixed(sigma=0.2)))
    assert cheap["kl_to_truth"] < 0.5
    assert cheap["spearman"] > 0.8


def test_two_latents_give_the_first_two_metrics_and_the_strongest_latent():
    lane = _lane(Fixed(sigma=0.2), latent_dim=2)
    params = lane.vae.init(jax.random.key(1)) | {"likelihood": {}}
    t, x = _data()
    data = Data(t=jnp.asarray(t), x=jnp.asarray(x))
    found = probe.probe(params, data, lane)
    assert set(found) == {"kl_to_prior", "spearman"}
    heads = of_lane(lane, params, data).encode(x.astype(float))
    mean, logvar = heads["mean"], heads["logvar"]
    kl = np.mean(0.5 * np.sum(mean**2 + np.exp(logvar) - 1 - logvar, axis=1))
    assert float(found["kl_to_prior"]) == pytest.approx(kl, abs=1e-5)  # float32
    ranks = [spearman(column, t) for column in mean.T]
    assert float(found["spearman"]) == pytest.approx(max(ranks, key=abs), abs=1e-6)


def test_a_mirrored_latent_changes_only_the_sign_of_spearman():
    params = _spiral_like()
    t, x = _data()
    mirrored = jax.tree.map(lambda leaf: leaf, params)
    mirrored["encoder"]["mean"] = jax.tree.map(lambda v: -v, params["encoder"]["mean"])
    mirrored["decoder"]["hidden_0"] = dict(
        params["decoder"]["hidden_0"], kernel=-params["decoder"]["hidden_0"]["kernel"]
    )
    lane = _lane(Fixed(sigma=0.2))
    one, two = (_PROBE(p, Data(t=t, x=x), lane) for p in (params, mirrored))
    for name in one:
        expected = -one[name] if name == "spearman" else one[name]
        np.testing.assert_allclose(two[name], expected, rtol=1e-4, err_msg=name)  # float32


def test_probe_of_lanes_side_by_side_is_that_of_each():
    models = [_untrained(), _spiral_like()]
    t, x = _data()
    data = Data(t=jnp.asarray(t), x=jnp.asarray(x))
    lanes = [_lane(Fixed(sigma=0.5)), _lane(Fixed(sigma=0.2))]
    both = [jax.tree.map(lambda *leaves: jnp.stack(leaves), *some) for some in (models, lanes)]
    together = jax.jit(jax.vmap(lambda params, lane: probe.probe(params, data, lane)))(*both)
    for i, (params, lane) in enumerate(zip(models, lanes, strict=True)):
        for name, value in _PROBE(params, data, lane).items():
            # float32 sums in another order
            np.testing.assert_allclose(together[name][i], value, rtol=1e-4, atol=1e-5)


def test_probe_of_another_family_that_is_the_gaussian_is_the_same():
    params = _spiral_like()
    encoder = params["encoder"]
    halved = jax.tree.map(lambda leaf: 0.5 * leaf, encoder["logvar"])
    other = {"hidden_0": encoder["hidden_0"], "place": encoder["mean"], "log_scale": halved}
    t, x = _data()
    data, likelihood = Data(t=jnp.asarray(t), x=jnp.asarray(x)), Fixed(sigma=0.2)
    one = _PROBE(params, data, _lane(likelihood))
    two = _PROBE(params | {"encoder": other}, data, _lane(likelihood, posterior=Bare()))
    for name, value in one.items():
        np.testing.assert_allclose(two[name], value, rtol=1e-4, atol=1e-5, err_msg=name)  # float32


@pytest.mark.parametrize("dim", [2, 7])
def test_nodes_of_the_truth_have_its_mean_and_covariance_in_few_and_in_many_dimensions(dim):
    rng = np.random.default_rng(dim)
    mean, scale = rng.normal(size=(3, dim)), np.tril(rng.normal(size=(3, dim, dim)))
    mass = np.array([0.2, 0.5, 0.3])
    truth = Observation(mean=jnp.asarray(mean, "f"), scale=jnp.asarray(scale, "f"))
    x, weight = map(np.asarray, probe._x_nodes(truth, jnp.asarray(mass, "f")))
    assert len(x) <= 3 * 4**6
    np.testing.assert_allclose(weight @ x, mass @ mean, atol=1e-5)  # float32
    second = np.einsum("k,kij,klj->il", mass, scale, scale) + (mean.T * mass) @ mean
    np.testing.assert_allclose((x.T * weight) @ x, second, rtol=1e-4, atol=1e-4)
