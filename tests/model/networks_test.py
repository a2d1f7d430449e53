"""The networks: names, shapes, first values, and the map against one in plain numpy."""

import functools

import flax
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from spiral_vae.model import networks


def _vae(hidden_dim=16, hidden_layers=1, latent_dim=1, data_dim=2):
    heads = (("mean", latent_dim), ("logvar", latent_dim))
    return networks.VAE(
        data_dim=data_dim,
        latent_dim=latent_dim,
        encoder=networks.Network(hidden=_sizes(hidden_dim, hidden_layers), heads=heads),
        decoder=networks.Network(
            hidden=_sizes(hidden_dim // 2, hidden_layers), heads=(("mean", data_dim),)
        ),
    )


def _sizes(hidden_dim, hidden_layers):
    return networks.Hidden(hidden_dim=hidden_dim, hidden_layers=hidden_layers)


def _dense(params, x):
    return np.asarray(x, np.float64) @ np.asarray(params["kernel"]) + np.asarray(params["bias"])


def _hidden(params, x, layers):
    for layer in range(layers):
        x = np.tanh(_dense(params[f"hidden_{layer}"], x))
    return x


def test_names_and_shapes_of_the_parameters():
    """Whoever reads the stored arrays relies on them; kernels are [in, out]."""
    params = _vae(hidden_dim=16, hidden_layers=2, latent_dim=3).init(jax.random.key(0))
    shapes = {
        name: leaf.shape for name, leaf in flax.traverse_util.flatten_dict(params, sep="/").items()
    }
    assert shapes == {
        "encoder/hidden_0/kernel": (2, 16),
        "encoder/hidden_0/bias": (16,),
        "encoder/hidden_1/kernel": (16, 16),
        "encoder/hidden_1/bias": (16,),
        "encoder/mean/kernel": (16, 3),
        "encoder/mean/bias": (3,),
        "encoder/logvar/kernel": (16, 3),
        "encoder/logvar/bias": (3,),
        "decoder/hidden_0/kernel": (3, 8),
        "decoder/hidden_0/bias": (8,),
        "decoder/hidden_1/kernel": (8, 8),
        "decoder/hidden_1/bias": (8,),
        "decoder/mean/kernel": (8, 2),
        "decoder/mean/bias": (2,),
    }


@pytest.fixture(scope="module")
def many_params():
    """Fresh parameters of 500 keys: enough of every single bias for a test of its distribution."""
    keys = jax.random.split(jax.random.key(0), 500)
    params = jax.jit(jax.vmap(_vae(hidden_dim=16, hidden_layers=2).init))(keys)
    return flax.traverse_util.flatten_dict(jax.device_get(params), sep="/")


FAN_IN = {
    "encoder/hidden_0": 2,
    "encoder/hidden_1": 16,
    "encoder/mean": 16,
    "encoder/logvar": 16,
    "decoder/hidden_0": 1,
    "decoder/hidden_1": 8,
    "decoder/mean": 8,
}


@pytest.mark.parametrize("part", ["kernel", "bias"])
@pytest.mark.parametrize("layer", FAN_IN)
def test_first_values_are_uniform_within_one_over_root_fan_in(many_params, layer, part):
    values = many_params[f"{layer}/{part}"].astype(np.float64)
    scaled = values * np.sqrt(FAN_IN[layer])
    assert np.max(np.abs(scaled)) <= 1 + 1e-6  # the bound is a float32
    uniform = stats.uniform(-1, 2).cdf
    assert stats.kstest(scaled.ravel(), uniform).pvalue > 1e-4  # over units and keys
    first = scaled.reshape(len(scaled), -1)[:, 0]
    assert stats.kstest(first, uniform).pvalue > 1e-4  # one parameter over keys


def test_first_values_are_not_shared_between_parameters(many_params):
    """No key is used twice: over the keys no two parameters are correlated."""
    columns = [leaf.reshape(len(leaf), -1)[:, 0] for leaf in many_params.values()]
    correlation = np.corrcoef(np.stack(columns)) - np.eye(len(columns))
    assert np.max(np.abs(correlation)) < 5 / np.sqrt(len(columns[0]))


@pytest.mark.parametrize(("latent_dim", "data_dim"), [(1, 2), (2, 2), (1, 3)])
@pytest.mark.parametrize("hidden_layers", [1, 3])
def test_forward_maps_are_those_in_numpy(hidden_layers, latent_dim, data_dim):
    vae = _vae(hidden_layers=hidden_layers, latent_dim=latent_dim, data_dim=data_dim)
    params = vae.init(jax.random.key(3))
    rng = np.random.default_rng(0)
    x, z = rng.normal(size=data_dim).astype("f"), rng.normal(size=latent_dim).astype("f")
    encoded = vae.encode(params, x)
    hidden = _hidden(params["encoder"], x, hidden_layers)
    assert set(encoded) == {"mean", "logvar"}
    for name, value in encoded.items():
        assert value.shape == (latent_dim,)
        # float32 with at most 16 terms of order 1 a sum
        np.testing.assert_allclose(value, _dense(params["encoder"][name], hidden), atol=3e-6)
    decoded = vae.decode(params, z)
    hidden = _hidden(params["decoder"], z, hidden_layers)
    assert set(decoded) == {"mean"} and decoded["mean"].shape == (data_dim,)
    expected = _dense(params["decoder"]["mean"], hidden)
    np.testing.assert_allclose(decoded["mean"], expected, atol=3e-6)


@pytest.mark.parametrize("detached", [(), ("logvar",), ("logvar", "dof")], ids=str)
def test_heads_are_affine_maps_of_one_hidden_layer_that_detached_ones_do_not_train(detached):
    heads = (("mean", 2), ("logvar", 2), ("dof", 1))
    decoder = networks.Network(hidden=_sizes(8, 2), heads=heads, detached=detached)
    z = jnp.array([[0.7], [-0.2]])
    params = decoder.init(jax.random.key(3), z)["params"]
    found = decoder.apply({"params": params}, z)
    assert {name: value.shape for name, value in found.items()} == {
        name: (size, 1) for name, size in heads
    }
    hidden = _hidden(params, z[:, 0], 2)
    for name, value in found.items():
        np.testing.assert_allclose(value[:, 0], _dense(params[name], hidden), atol=3e-6)
        grad = jax.grad(lambda p, n=name: jnp.sum(decoder.apply({"params": p}, z)[n]))(params)
        trained = {layer for layer, g in grad.items() if np.any(g["kernel"] != 0)}
        below = set() if name in detached else {"hidden_0", "hidden_1"}
        assert trained == {name} | below
    # The start of what both have is the same: kinds of likelihood can be compared in pairs.
    plain = networks.Network(hidden=_sizes(8, 2), heads=(("mean", 2),))
    plain = plain.init(jax.random.key(3), z)["params"]
    for name in plain:
        np.testing.assert_array_equal(plain[name]["kernel"], params[name]["kernel"])


def test_examples_along_further_axes_are_as_many_single_ones():
    vae = _vae(hidden_layers=2)
    params = vae.init(jax.random.key(3))
    x = jnp.asarray(np.random.default_rng(1).normal(size=(2, 6)).astype("f"))
    singles = [vae.encode(params, column) for column in x.T]
    for part in ("mean", "logvar"):
        expected = np.stack([single[part] for single in singles], axis=-1)
        # the same sums, perhaps in another order
        close = functools.partial(np.testing.assert_allclose, atol=1e-6)
        close(vae.encode(params, x)[part], expected)
        close(vae.encode(params, x.reshape(2, 3, 2))[part], expected.reshape(-1, 3, 2))
        by_vmap = jax.vmap(vae.encode, in_axes=(None, 0))(params, x.T)[part]
        close(by_vmap.T, expected)


def test_equal_models_are_one_static_argument():
    """Else a sweep would compile again for every lane, and lanes would not group."""
    assert _vae() == _vae()
    assert hash(_vae()) == hash(_vae())
    assert _vae() != _vae(latent_dim=2)
    assert _vae() != _vae(data_dim=3)


# What curves that wind often need


def _network(**own):
    hidden = networks.Hidden(hidden_dim=5, hidden_layers=2)
    return networks.Network(hidden=hidden, heads=(("mean", 1),), **own)


def test_fourier_features_stand_beside_x_and_are_not_trained():
    network = _network(fourier_features=7, fourier_scale=3.0)
    x = jax.random.normal(jax.random.key(1), (2, 4))
    params = network.init(jax.random.key(0), x)["params"]
    kernel = params["fourier"]["kernel"]
    assert kernel.shape == (2, 7) and params["hidden_0"]["kernel"].shape == (2 + 14, 5)
    many = _network(fourier_features=4000, fourier_scale=3.0)
    drawn = many.init(jax.random.key(0), x)["params"]["fourier"]["kernel"]
    assert np.std(drawn) == pytest.approx(3, rel=0.05)
    angle = np.asarray(kernel).T @ np.asarray(x)
    plain = _network()
    features = np.concatenate([x, np.sin(angle), np.cos(angle)])
    rest = {name: one for name, one in params.items() if name != "fourier"}
    np.testing.assert_allclose(
        network.apply({"params": params}, x)["mean"],
        plain.apply({"params": rest}, features)["mean"],
        rtol=1e-5,
    )
    grads = jax.grad(lambda p: jnp.sum(network.apply({"params": p}, x)["mean"]))(params)
    assert np.all(np.asarray(grads["fourier"]["kernel"]) == 0)
    assert np.any(np.asarray(grads["hidden_0"]["kernel"]) != 0)


def test_the_factor_is_on_the_first_layer_alone():
    x = jnp.ones((1, 1))
    plain, wide = (
        _network(first_layer=factor).init(jax.random.key(0), x)["params"] for factor in (1.0, 3.0)
    )
    for name in plain:
        factor = 3 if name == "hidden_0" else 1
        for part in ("kernel", "bias"):
            np.testing.assert_allclose(wide[name][part], factor * plain[name][part], rtol=1e-6)
