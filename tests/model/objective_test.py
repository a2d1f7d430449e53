"""The bounds of a linear model, where all is known in closed form (probabilistic PCA)."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from spiral_vae.maths.ramp import Time
from spiral_vae.model import networks, objective
from spiral_vae.model.likelihood import Fixed
from spiral_vae.model.objective import Elbo, Evidence, Iwae
from spiral_vae.model.posterior import Gaussian

SIGMA = 0.5
X = np.array([0.9, -0.4])
kinds = pytest.mark.parametrize("kind", [Elbo(), Iwae()], ids=["elbo", "iwae"])


class Linear:
    """q(z|x) = N(V x + c, diag exp(logvar)) and a decoder W z + b, in place of the networks."""

    def encode(self, params, x):
        encoder = params["encoder"]
        return {"mean": encoder["V"] @ x + encoder["c"], "logvar": encoder["logvar"]}

    def decode(self, params, z):
        b = params["decoder"]["b"]
        return {"mean": params["decoder"]["W"] @ z + b.reshape(2, *[1] * (z.ndim - 1))}


def _vae():
    hidden = networks.Hidden(hidden_dim=3, hidden_layers=1)
    return networks.VAE(
        data_dim=2,
        latent_dim=1,
        encoder=networks.Network(hidden=hidden, heads=(("mean", 1), ("logvar", 1))),
        decoder=networks.Network(hidden=hidden, heads=(("mean", 2),)),
    )


def _params(latent_dim):
    rng = np.random.default_rng(latent_dim)
    return {
        "encoder": {
            "V": rng.normal(size=(latent_dim, 2)),
            "c": rng.normal(size=latent_dim),
            "logvar": rng.normal(size=latent_dim),
        },
        "decoder": {"W": rng.normal(size=(2, latent_dim)), "b": rng.normal(size=2)},
    }


def _exact(params, x):
    """Reconstruction and KL: E||x - W z - b||^2 = ||x - W m - b||^2 + sum_l s_l^2 ||W_l||^2."""
    mean, logvar = Gaussian().moments(Linear().encode(params, x))
    var = jnp.exp(logvar)
    residual = jnp.sum((x - Linear().decode(params, mean)["mean"]) ** 2)
    residual += jnp.sum(var * params["decoder"]["W"] ** 2)
    reconstruction = residual / (2 * SIGMA**2) + np.log(2 * np.pi * SIGMA**2)
    return reconstruction, 0.5 * jnp.sum(mean**2 + var - 1 - logvar)


def _posterior(params):
    """The encoder's params replaced by those of the exact posterior, and log p(X)."""
    w, b = params["decoder"]["W"], params["decoder"]["b"]
    var = SIGMA**2 / (SIGMA**2 + np.sum(w**2))
    encoder = {
        "V": var / SIGMA**2 * w.T,
        "c": -var / SIGMA**2 * w.T @ b,
        "logvar": np.log([var]),
    }
    evidence = stats.multivariate_normal(b, w @ w.T + SIGMA**2 * np.eye(2)).logpdf(X)
    return params | {"encoder": encoder}, evidence


def _draw(params, eps, vae=None):
    """The samples for X and the log-likelihood of each."""
    x = jnp.asarray(X, eps.dtype)
    draws = objective.draw(params, x, eps, vae or Linear(), Gaussian())
    log_prob = jax.vmap(Fixed(sigma=SIGMA).log_prob, in_axes=(None, None, -1))({}, x, draws.heads)
    return draws, log_prob


def _elbo(params, eps):
    return Elbo().terms(*_draw(params, eps), 1.0)


def _corners(latent_dim):
    """Noise of +-1 in each dimension: a rule that is exact for the quadratic log-likelihood."""
    axes = np.meshgrid(*[[-1.0, 1.0]] * latent_dim)
    return jnp.asarray(np.stack(axes).reshape(latent_dim, -1))


@pytest.mark.parametrize("latent_dim", [1, 2])
def test_terms_and_gradients_of_a_linear_model_are_the_closed_form(latent_dim):
    with jax.enable_x64(True):
        params = jax.tree.map(jnp.asarray, _params(latent_dim))
        found = _elbo(params, _corners(latent_dim))
        exact = _exact(params, X)
        assert found.reconstruction.shape == found.kl.shape == ()
        np.testing.assert_allclose([found.reconstruction, found.kl], exact, rtol=1e-12)
        for name, part in (("reconstruction", 0), ("kl", 1)):
            grads = jax.grad(lambda p, n=name: getattr(_elbo(p, _corners(latent_dim)), n))(params)
            expected = jax.grad(lambda p, i=part: _exact(p, X)[i])(params)
            jax.tree.map(
                lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-12),
                grads,
                expected,
            )


@pytest.mark.parametrize("latent_dim", [1, 2])
def test_random_samples_give_the_closed_form_within_their_error(latent_dim):
    num = 20_000
    params = _params(latent_dim)
    eps = jax.random.normal(jax.random.key(0), (num, latent_dim, 1))
    exact, _ = _exact(params, X)

    def reconstruction(params, eps):
        return _elbo(params, eps).reconstruction

    values, grads = jax.vmap(jax.value_and_grad(reconstruction), in_axes=(None, 0))(params, eps)
    values = np.asarray(values, np.float64)
    assert abs(values.mean() - exact) < 5 * values.std() / np.sqrt(num)

    def check(grad, expected):
        grad = np.asarray(grad, np.float64)
        error = grad.std(axis=0) / np.sqrt(num)
        assert np.all(np.abs(grad.mean(axis=0) - expected) < 5 * error)

    jax.tree.map(check, grads, jax.grad(lambda p: _exact(p, X)[0])(params))


def test_the_posterior_gives_the_evidence_and_a_stationary_encoder():
    """With the exact posterior for q the bound is log p(x), and nothing in q can raise it."""
    with jax.enable_x64(True):
        params, evidence = _posterior(_params(1))
        value, grads = jax.value_and_grad(lambda p: _elbo(p, _corners(1)).elbo)(
            jax.tree.map(jnp.asarray, params)
        )
        assert float(value) == pytest.approx(evidence, rel=1e-12)
        for grad in jax.tree.leaves(grads["encoder"]):
            np.testing.assert_allclose(grad, 0, atol=1e-12)
        assert np.max(np.abs(grads["decoder"]["b"])) > 0.01


def test_samples_are_averaged():
    """One call with five samples is the mean of five calls, and the KL doesn't see them."""
    params = _params(1)
    eps = jax.random.normal(jax.random.key(1), (1, 5))
    together = _elbo(params, eps)
    singles = [_elbo(params, column[:, None]) for column in eps.T]
    mean = np.mean([single.reconstruction for single in singles])
    assert float(together.reconstruction) == pytest.approx(mean, rel=1e-6)
    assert all(together.kl == single.kl for single in singles)


@kinds
def test_many_points_along_the_last_axis_are_as_many_single_ones(kind):
    vae = _vae()
    params = vae.init(jax.random.key(0))
    rng = np.random.default_rng(0)
    x, eps = rng.normal(size=(2, 5)).astype("f"), rng.normal(size=(1, 3, 5)).astype("f")

    def found(x, eps):
        draws = objective.draw(params, x, eps, vae, Gaussian())
        log_prob = -jnp.sum((x[:, None] - draws.heads["mean"]) ** 2, axis=0)
        terms = kind.terms(draws, log_prob, 0.7)
        return draws, terms, kind.shares(draws, log_prob, 0.7)

    singles = [found(x[:, i], eps[..., i]) for i in range(5)]
    stacked = jax.tree.map(lambda *leaves: np.stack(leaves, axis=-1), *singles)
    close = functools.partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-6)  # float32
    jax.tree.map(close, found(x, eps), stacked)


@pytest.mark.parametrize("beta", [0.0, 0.5, 1.0, 4.0])
def test_loss_weights_the_kl_and_the_elbo_does_not(beta):
    draws = objective.Draws(None, None, None, jnp.array([0.25, 1.0]), None)
    terms = Elbo().terms(draws, jnp.array([[-2.0, -3.0]]), beta)
    np.testing.assert_array_equal(terms.loss, [2 + 0.25 * beta, 3 + beta])
    np.testing.assert_array_equal(terms.elbo, [-2.25, -4])


@pytest.mark.parametrize("kind", [Elbo, Iwae])
def test_weight_rises_to_beta_over_the_warmup(kind):
    progress = jnp.array([0.0, 0.1, 0.2, 0.4, 0.9])
    time = Time(epoch=100 * progress, progress=progress)
    found = kind(beta=3.0, kl_warmup=0.4).weight(time)
    np.testing.assert_allclose(found, [0, 0.75, 1.5, 3, 3], rtol=1e-6)
    np.testing.assert_array_equal(kind(beta=3.0).weight(time), np.full(5, 3))


def test_beta_and_warmup_are_leaves_and_the_number_of_samples_is_not():
    """So a sweep can vary the former within one program."""
    assert sorted(jax.tree.leaves(Iwae(beta=0.5, kl_warmup=0.2, num_samples=7))) == [0.2, 0.5]


@kinds
def test_gradients_of_the_real_networks_reach_every_parameter(kind):
    vae = _vae()
    params = vae.init(jax.random.key(0))
    eps = jnp.array([[0.7, -1.1]])

    def loss(params):
        return kind.terms(*_draw(params, eps, vae), 1.0).loss

    for grad in jax.tree.leaves(jax.grad(loss)(params)):
        assert np.all(grad != 0)


# The importance-weighted bound


@pytest.mark.parametrize("beta", [1.0, 0.3])
def test_iwae_is_the_log_of_the_mean_weight(beta):
    with jax.enable_x64(True):
        params = _params(2)
        eps = np.random.default_rng(2).normal(size=(2, 7))
        draws, log_prob = _draw(params, jnp.asarray(eps))
        found = Iwae().terms(draws, log_prob, beta)
        mean, logvar = Gaussian().moments(Linear().encode(params, X))
        z = mean + np.exp(0.5 * logvar) * eps.T
        log_q = stats.norm(mean, np.exp(0.5 * logvar)).logpdf(z).sum(axis=1)
        log_ratio = stats.norm.logpdf(z).sum(axis=1) - log_q
        decoded = z @ params["decoder"]["W"].T + params["decoder"]["b"]
        log_likelihood = stats.norm(decoded, SIGMA).logpdf(X).sum(axis=1)
        np.testing.assert_allclose(draws.z, z.T, rtol=1e-12)
        np.testing.assert_allclose(draws.log_ratio, log_ratio, rtol=1e-11)
        expected = -np.log(np.mean(np.exp(log_likelihood + beta * log_ratio)))
        assert float(found.loss) == pytest.approx(expected, rel=1e-12)
        # The reported terms stay those of the ELBO.
        assert float(found.reconstruction) == pytest.approx(-log_likelihood.mean(), rel=1e-12)
        assert float(found.kl) == float(_elbo(params, jnp.asarray(eps)).kl)


def test_iwae_under_the_posterior_is_the_evidence_for_any_noise():
    with jax.enable_x64(True):
        params, evidence = _posterior(_params(1))
        for num in (1, 5):
            eps = jax.random.normal(jax.random.key(num), (1, num))
            found = Iwae().terms(*_draw(params, eps), 1.0)
            assert float(found.loss) == pytest.approx(-evidence, rel=1e-12)


@kinds
def test_shares_are_the_gradient_of_the_loss_by_the_log_likelihoods(kind):
    draws, log_prob = _draw(_params(1), jax.random.normal(jax.random.key(3), (1, 6)))
    found = kind.shares(draws, log_prob, 0.7)
    grad = jax.grad(lambda value: kind.terms(draws, value, 0.7).loss)(log_prob)
    np.testing.assert_allclose(found, -grad, rtol=1e-5, atol=1e-7)
    assert float(jnp.sum(found)) == pytest.approx(1, rel=1e-6)
    assert (np.ptp(found) > 0.1) == isinstance(kind, Iwae)


# Estimators of the gradient


def _gradient(params, eps, estimator):
    def loss(params):
        draws, log_prob = _draw(params, eps)
        return Elbo(estimator=estimator).terms(draws, log_prob, 1.0).loss

    return jax.grad(loss)(params)


@pytest.mark.parametrize("latent_dim", [1, 2])
def test_sticking_the_landing_has_the_gradient_of_the_elbo_in_expectation(latent_dim):
    """Its integrand is quadratic in the noise here, so the corners give the expectation."""
    with jax.enable_x64(True):
        params = jax.tree.map(jnp.asarray, _params(latent_dim))
        found = _gradient(params, _corners(latent_dim), "stl")
        expected = _gradient(params, _corners(latent_dim), "reparameterised")
        close = functools.partial(np.testing.assert_allclose, rtol=1e-12, atol=1e-12)
        jax.tree.map(close, found, expected)


def test_sticking_the_landing_has_no_variance_at_the_exact_posterior():
    """Roeder et al. 2017, section 3; with any single sample, while the other estimator has some."""
    with jax.enable_x64(True):
        params, _ = _posterior(_params(1))
        params = jax.tree.map(jnp.asarray, params)
        for seed in range(5):
            eps = jax.random.normal(jax.random.key(seed), (1, 1), jnp.float64)
            for leaf in jax.tree.leaves(_gradient(params, eps, "stl")["encoder"]):
                np.testing.assert_allclose(leaf, 0, atol=1e-12)
            other = _gradient(params, eps, "reparameterised")["encoder"]
            assert all(np.max(np.abs(leaf)) > 1e-3 for leaf in jax.tree.leaves(other))


# The evidence


def _nodes_terms(params, u, num):
    """Of three points, on `num` nodes that are shifted by u, [L, 1, 1]."""
    kind = Evidence(num_samples=num)
    x = jnp.asarray(np.stack([X, -X, X[::-1]], axis=1))
    eps = kind.noise(jax.scipy.special.ndtri(jnp.asarray(u)))
    draws = kind.draw(params, x, eps, _Wide(), Gaussian())
    heads = {"mean": jnp.broadcast_to(draws.heads["mean"], (2, num, 3))}
    of_point = jax.vmap(Fixed(sigma=SIGMA).log_prob, in_axes=(None, None, -1))
    log_prob = jax.vmap(of_point, in_axes=(None, -1, -1), out_axes=-1)({}, x, heads)
    return x, draws, kind.terms(draws, log_prob, 1.0), kind.shares(draws, log_prob, 1.0)


class _Wide(Linear):
    """The same for x [D, B]."""

    def encode(self, params, x):
        own = params["encoder"]["logvar"]
        mean = params["encoder"]["V"] @ x + params["encoder"]["c"][:, None]
        return {"mean": mean, "logvar": jnp.broadcast_to(own[:, None], mean.shape)}

    def decode(self, params, z):
        own = params["decoder"]
        return {"mean": jnp.tensordot(own["W"], z, axes=1) + own["b"][:, None, None]}


def _ppca(params, x):
    """The evidence [B] and the moments of the posterior, mean [L, B] and covariance [L, L]."""
    w, b = params["decoder"]["W"], params["decoder"]["b"]
    covariance = w @ w.T + SIGMA**2 * jnp.eye(2)
    evidence = jax.scipy.stats.multivariate_normal.logpdf(x.T, b, covariance)
    own = jnp.linalg.inv(jnp.eye(w.shape[1]) + w.T @ w / SIGMA**2)
    return evidence, own @ w.T @ (x - b[:, None]) / SIGMA**2, own


@pytest.mark.parametrize(("latent_dim", "num"), [(1, 400), (2, 300**2)])
def test_the_evidence_and_its_gradient_are_the_closed_form(latent_dim, num):
    """Up to the 1e-4 of the prior that lie beyond the nodes on either side, and what they hold."""
    with jax.enable_x64(True):
        params = jax.tree.map(jnp.asarray, _params(latent_dim))
        u = np.full((latent_dim, 1, 1), 0.5)

        def loss(params):
            x, draws, terms, _ = _nodes_terms(params, u, num)
            return jnp.mean(terms.loss), (x, draws.z, terms.elbo)

        def exact(params):
            """-log p(x) + KL(p(z|x) || q(z|x)), the posterior of the latter held still."""
            evidence, mean, cov = _ppca(params, x)
            mean, cov = jax.lax.stop_gradient((mean, cov))
            q = Linear().encode(params, x[:, 0])
            q_mean = params["encoder"]["V"] @ x + params["encoder"]["c"][:, None]
            variance = jnp.exp(q["logvar"])
            error = jnp.diagonal(cov)[:, None] + (mean - q_mean) ** 2
            kl = (
                0.5 * jnp.sum(error / variance[:, None] - 1 + q["logvar"][:, None], axis=0)
                - 0.5 * jnp.linalg.slogdet(cov)[1]
            )
            return jnp.mean(kl - evidence)

        (found, (x, z, elbo)), slope = jax.jit(jax.value_and_grad(loss, has_aux=True))(params)
        assert z.shape == (latent_dim, num, 1)  # all points share them
        np.testing.assert_allclose(elbo, _ppca(params, x)[0], atol=2e-3)
        wanted, exact_slope = jax.jit(jax.value_and_grad(exact))(params)
        assert float(found) == pytest.approx(float(wanted), rel=1e-2)
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, rtol=0.02, atol=0.01), slope, exact_slope
        )


def test_shifted_nodes_have_the_evidence_for_their_mean():
    """However few there are: each shift gives an estimate, and together they leave nothing out."""
    with jax.enable_x64(True):
        params = jax.tree.map(jnp.asarray, _params(1))
        shifts = (np.arange(500) + 0.5) / 500

        @jax.jit
        def evidence(u):
            x, _, terms, _ = _nodes_terms(params, u, 16)
            return x, terms.elbo

        x, found = zip(*(evidence(np.full((1, 1, 1), u)) for u in shifts), strict=True)
        mean = np.mean(np.exp(found), axis=0)
        np.testing.assert_allclose(mean, np.exp(_ppca(params, x[0])[0]), rtol=1e-3)
        assert np.ptp([elbo[0] for elbo in found]) > 1e-3


def test_the_encoder_of_the_evidence_is_still_at_the_exact_posterior():
    with jax.enable_x64(True):
        params = jax.tree.map(jnp.asarray, _posterior(_params(1))[0])
        u = np.full((1, 1, 1), 0.5)
        grads = jax.grad(lambda p: jnp.sum(_nodes_terms(p, u, 2_000)[2].loss))(params)
        for leaf in jax.tree.leaves(grads["encoder"]):
            np.testing.assert_allclose(leaf, 0, atol=5e-3)  # the tails beyond the nodes
        assert np.max(np.abs(grads["decoder"]["b"])) > 0.01
        shares = _nodes_terms(params, u, 2_000)[3]
        np.testing.assert_allclose(np.sum(shares, axis=0), 1, rtol=1e-12)
