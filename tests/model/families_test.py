"""Mixture, spline and full covariance: against quadrature, scipy and closed forms."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import integrate, stats

from spiral_vae.maths import gaussian
from spiral_vae.model import objective
from spiral_vae.model.posterior import FullCovariance, Gaussian, Mixture, Spline

LINE = [Mixture(), Mixture(num_components=1), Spline(), Spline(num_bins=3), FullCovariance()]
ALL = [(family, 1) for family in LINE] + [(Mixture(num_components=3), 2), (FullCovariance(), 2)]
on_the_line = pytest.mark.parametrize("family", LINE, ids=repr)
everywhere = pytest.mark.parametrize(("family", "latent_dim"), ALL, ids=repr)


@pytest.fixture(autouse=True)
def _float64():
    with jax.enable_x64(True):
        yield


def _heads(family, latent_dim=1, many=(), seed=0):
    rng = np.random.default_rng(seed)
    sizes = family.heads(latent_dim)
    return {name: jnp.asarray(rng.normal(size=(size, *many))) for name, size in sizes.items()}


def _pieces(family, heads):
    """Where scipy has to look: 9 scales around each piece of the density."""
    place, scale = (np.asarray(part) for part in family.pieces(heads))
    return np.unique(np.concatenate([place + k * scale for k in (-9, -3, -1, 0, 1, 3, 9)]))


def _integral(function, edges):
    return sum(
        integrate.quad(function, *ends, epsabs=1e-13, epsrel=1e-13, limit=200)[0]
        for ends in zip(edges[:-1], edges[1:], strict=True)
    )


def _log_prob(family, heads):
    compiled = jax.jit(lambda z: family.log_prob(heads, z)[0])
    return lambda z: float(compiled(jnp.array([[z]])))


@on_the_line
def test_a_density_integrates_to_one_and_to_its_cdf(family):
    heads = _heads(family)
    log_prob, edges = _log_prob(family, heads), _pieces(family, heads)
    if isinstance(family, Spline):  # its second derivative jumps at the knots
        y = family._spline(heads).y[:, 0]
        knots = np.asarray(heads["mean"] + jnp.exp(0.5 * heads["logvar"]) * y)
        edges = np.unique([*edges, *knots, knots[0] - 30, knots[-1] + 30])
    assert _integral(lambda z: np.exp(log_prob(z)), edges) == pytest.approx(1, abs=1e-10)
    middle = edges[len(edges) // 2] + 0.01
    below = _integral(lambda z: np.exp(log_prob(z)), [*edges[edges < middle], middle])
    assert float(jax.jit(family.cdf)(heads, jnp.array([middle]))) == pytest.approx(below, abs=1e-10)


@everywhere
def test_sample_and_log_prob_agree_by_the_change_of_variables(family, latent_dim):
    """log q(z) = log N(eps) - log |dz/deps| within a stratum, so of one stratum exactly."""
    heads = _heads(family, latent_dim)
    if family.strata > 1:  # each alone: the others without mass
        heads |= {"logit": jnp.array([0.0] + [-1e3] * (family.strata - 1))}
    eps = jnp.asarray(np.random.default_rng(1).normal(size=(latent_dim, 6)))

    def sample(eps):
        return family.sample(heads, jnp.tile(eps[:, None], family.strata))[:, 0]

    @jax.jit
    def both(eps):
        _, log_det = jnp.linalg.slogdet(jax.jacobian(sample)(eps))
        return family.log_prob(heads, sample(eps)[:, None])[0], gaussian.log_prior(eps) - log_det

    for own in eps.T:
        found, expected = both(own)
        assert float(found) == pytest.approx(float(expected), abs=1e-10)


@everywhere
def test_nodes_are_the_law_of_draws(family, latent_dim):
    """Moments, KL and entropy by nodes against Monte Carlo, within its standard errors."""
    heads, num = _heads(family, latent_dim), 40_000

    @jax.jit
    def found_of(heads):
        eps = jax.random.normal(jax.random.key(2), (latent_dim, num * family.strata))
        z = family.sample(heads, eps)
        nodes = family.nodes(heads, 128 if latent_dim == 1 else 64)
        log_ratio = family.log_prob(heads, nodes.z) - gaussian.log_prior(nodes.z)
        return (
            (z, family.log_mass(heads), family.moments(heads), family.kl(heads)),
            (family.log_ratio(heads, z, eps), gaussian.log_prior(z) - family.log_prob(heads, z)),
            (jnp.exp(nodes.log_weight), log_ratio),
        )

    (z, log_mass, (first, second), kl), (log_ratio, expected), (weight, of_nodes) = found_of(heads)
    mass = np.ones(1) if log_mass is None else np.exp(log_mass)

    def mean(values):
        """The stratified mean and its standard error."""
        own = np.asarray(values).reshape(family.strata, num)
        return mass @ own.mean(axis=1), np.sqrt(mass**2 @ own.var(axis=1) / num)

    assert weight.sum() == pytest.approx(1, abs=1e-12)
    for i in range(latent_dim):
        found, error = mean(z[i])
        assert found == pytest.approx(float(first[i]), abs=5 * error)
        found, error = mean((z[i] - first[i]) ** 2)
        assert found == pytest.approx(float(jnp.exp(second[i])), abs=5 * error)
    found, error = mean(-log_ratio)
    assert found == pytest.approx(float(kl), abs=5 * error)
    np.testing.assert_allclose(log_ratio, expected, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(weight @ np.asarray(of_nodes), kl, rtol=1e-9)


@everywhere
def test_many_examples_along_further_axes_are_as_many_single_ones(family, latent_dim):
    heads = _heads(family, latent_dim, (2, 2))
    eps = jnp.asarray(np.random.default_rng(3).normal(size=(latent_dim, 2 * family.strata, 2, 2)))

    @jax.jit
    def found(heads, eps):
        z = family.sample(heads, eps)
        nodes = family.nodes(heads, 16)
        return {
            "z": z,
            "log_prob": family.log_prob(heads, z),
            "log_ratio": family.log_ratio(heads, z, eps),
            "path": family.path_log_ratio(heads, z, eps),
            "kl": family.kl(heads),
            "moments": family.moments(heads),
            "nodes": nodes.z,
            "weight": nodes.log_weight,
        }

    together = found(heads, eps)
    for at in ((0, 1), (1, 0)):
        alone = found(jax.tree.map(lambda leaf, at=at: leaf[(..., *at)], heads), eps[(..., *at)])
        jax.tree.map(
            lambda a, b, at=at: np.testing.assert_allclose(
                np.broadcast_to(a, (*a.shape[:-2], 2, 2))[(..., *at)], b, rtol=1e-9, atol=1e-9
            ),
            together,
            alone,
        )


@everywhere
def test_the_path_gradient_leaves_out_the_score_alone(family, latent_dim):
    """At one z: d/dz is that of log p - log q, and without a way through z there is nothing."""
    heads = _heads(family, latent_dim)
    eps = jnp.asarray(np.random.default_rng(4).normal(size=(latent_dim, family.strata)))

    def path(heads, z):
        return jnp.sum(family.path_log_ratio(heads, z, eps))

    def score(z):
        return jnp.sum(gaussian.log_prior(z) - family.log_prob(heads, z))

    z = jax.jit(family.sample)(heads, eps)
    by_heads, along = jax.jit(jax.grad(path, argnums=(0, 1)))(heads, z)
    np.testing.assert_allclose(along, jax.jit(jax.grad(score))(z), rtol=1e-8, atol=1e-8)
    jax.tree.map(lambda leaf: np.testing.assert_array_equal(leaf, 0), by_heads)


@pytest.mark.parametrize("family", [Mixture(num_components=1), FullCovariance()], ids=repr)
def test_what_is_a_gaussian_has_its_numbers(family):
    heads, eps = _heads(family, many=(5,)), jax.random.normal(jax.random.key(5), (1, 3, 5))
    own = {name: heads[name] for name in ("mean", "logvar")}
    z = Gaussian().sample(own, eps)
    np.testing.assert_allclose(family.sample(heads, eps), z, rtol=1e-12)
    expected = Gaussian().log_prob(own, z)
    np.testing.assert_allclose(family.log_prob(heads, z), expected, rtol=1e-12)
    np.testing.assert_allclose(family.kl(heads), Gaussian().kl(own), rtol=1e-9)


def test_a_flat_spline_is_the_gaussian():
    family = Spline()
    heads = _heads(family) | {name: jnp.zeros(8) for name in ("width", "height")}
    heads |= {"slope": jnp.zeros(7)}
    own = {name: heads[name] for name in ("mean", "logvar")}
    z = jnp.linspace(-6, 6, 41)[None]
    expected = Gaussian().log_prob(own, z)
    np.testing.assert_allclose(family.log_prob(heads, z), expected, rtol=1e-10)
    assert float(family.kl(heads)) == pytest.approx(float(Gaussian().kl(own)), rel=1e-9)


def test_mixture_is_scipys():
    heads = _heads(Mixture(), seed=3)
    mean = np.asarray(heads["mean"]) + np.linspace(-1, 1, 4)  # places of their own at the start
    sigma, mass = np.exp(0.5 * heads["logvar"]), np.exp(heads["logit"])
    z = np.linspace(-4, 4, 9)
    each = stats.norm.pdf(z[:, None], mean, sigma)
    expected = np.log(each @ (mass / mass.sum()))
    np.testing.assert_allclose(Mixture().log_prob(heads, z[None]), expected, rtol=1e-7)


def test_full_covariance_is_scipys():
    family = FullCovariance()
    heads = _heads(family, 2)
    scale = np.diag(np.exp(0.5 * heads["logvar"]))
    scale[1, 0] = heads["lower"][0]
    covariance = scale @ scale.T
    z = np.random.default_rng(6).normal(size=(5, 2))
    truth = stats.multivariate_normal(heads["mean"], covariance)
    np.testing.assert_allclose(family.log_prob(heads, z.T), truth.logpdf(z), rtol=1e-12)
    square = heads["mean"] @ heads["mean"]
    kl = 0.5 * (np.trace(covariance) + square - 2 - np.linalg.slogdet(covariance)[1])
    assert float(family.kl(heads)) == pytest.approx(float(kl), rel=1e-12)
    np.testing.assert_allclose(np.exp(family.moments(heads)[1]), np.diag(covariance), rtol=1e-12)


@pytest.mark.parametrize("name", ["near", "fresh"])
def test_components_differ_from_the_start(name):
    """Else they would stay equal for ever."""
    zeros = {key: jnp.zeros(size) for key, size in Mixture().heads(1).items()}
    one = jnp.zeros(1)
    heads = zeros if name == "fresh" else Mixture().near(one + 0.3, one - 2.0, one)
    place, _ = Mixture().pieces(heads)
    assert len(np.unique(np.round(place, 6))) == 4


def test_a_mixture_near_gaussians_is_their_mixture():
    mean, logvar = jnp.array([-1.0, 0.0, 1.5, 2.0]), jnp.array([-3.0, -2.0, -1.0, -4.0])
    log_mass = jnp.log(jnp.array([0.1, 0.4, 0.3, 0.2]))
    heads = Mixture().near(mean, logvar, log_mass)
    place, scale = Mixture().pieces(heads)
    np.testing.assert_allclose(place, mean, atol=1e-6)
    np.testing.assert_allclose(2 * np.log(scale), logvar, rtol=1e-12)
    np.testing.assert_allclose(Mixture().log_mass(heads), log_mass, rtol=1e-12)


# In the objectives


class _Fixed:
    """Heads that are parameters, and a decoder z -> (z, z^2), in place of the networks."""

    def encode(self, params, x):
        del x
        return params["encoder"]

    def decode(self, params, z):
        return {"mean": params["decoder"] * jnp.concatenate([z, z**2])}


def _terms(kind, params, eps, family):
    x = jnp.array([0.4, 0.3])
    draws = objective.draw(params, x, eps, _Fixed(), family, tagged=kind.scales_paths)
    residual = x[:, None] - draws.heads["mean"]
    log_prob = -0.5 * jnp.sum(residual**2, axis=0) / 0.3**2
    loss = kind.terms(draws, log_prob, 1.0).loss
    if draws.tag is not None:
        factors = jax.lax.stop_gradient(kind.path_factors(draws, log_prob, 1.0))
        loss += jnp.sum(draws.tag * factors)
    return loss


@pytest.mark.parametrize(
    ("kind", "other", "family"),
    [
        (objective.Elbo(), objective.Elbo(estimator="stl"), Gaussian()),
        (objective.Elbo(), objective.Elbo(estimator="stl"), Mixture(num_components=2)),
        (objective.Elbo(), objective.Elbo(estimator="stl"), Spline(num_bins=3)),
        (objective.Iwae(), objective.Iwae(estimator="dreg"), Gaussian()),
        (objective.Iwae(), objective.Iwae(estimator="dreg"), Spline(num_bins=3)),
    ],
    ids=repr,
)
def test_two_estimators_have_one_expectation(kind, other, family):
    heads = jax.tree.map(lambda head: 0.5 * head, _heads(family))
    params = {"encoder": heads, "decoder": jnp.ones(())}
    eps = jax.random.normal(jax.random.key(7), (20_000, 1, 3 * family.strata))

    def gradients(kind):
        return jax.jit(
            jax.vmap(jax.grad(lambda p, e: _terms(kind, p, e, family)), in_axes=(None, 0))
        )(params, eps)

    def check(a, b):
        difference = np.asarray(a - b).reshape(len(eps), -1)
        error = difference.std(axis=0) / np.sqrt(len(eps))
        assert np.all(np.abs(difference.mean(axis=0)) <= 5 * error + 1e-12)

    one, two = gradients(kind), gradients(other)
    jax.tree.map(check, one, two)
    np.testing.assert_allclose(one["decoder"], two["decoder"], rtol=1e-9)  # of the encoder alone
    assert not np.allclose(one["encoder"]["mean"], two["encoder"]["mean"])


def test_sticking_the_landing_has_no_variance_at_the_posterior():
    """Of a mixture posterior: its density is that of q up to a constant."""
    family = Mixture(num_components=2)
    heads = _heads(family)
    for seed in range(3):
        eps = jax.random.normal(jax.random.key(seed), (1, 2))

        def loss(heads, eps=eps):
            z = family.sample(heads, eps)
            log_mass = family.log_mass(heads)
            log_posterior = family.log_prob(jax.lax.stop_gradient(heads), z)
            log_prob = log_posterior - gaussian.log_prior(z)  # and log p(x) = 0
            draws = objective.Draws(
                z, {}, None, jnp.zeros(()), family.path_log_ratio(heads, z, eps), log_mass
            )
            return objective.Elbo(estimator="stl").terms(draws, log_prob, 1.0).loss

        jax.tree.map(
            lambda leaf: np.testing.assert_allclose(leaf, 0, atol=1e-12), jax.grad(loss)(heads)
        )


def test_weights_of_strata_make_the_bounds():
    """IWAE of a mixture is the mean of weights, each with its component's share."""
    family = Mixture(num_components=2)
    params = {"encoder": _heads(family), "decoder": jnp.ones(())}
    eps = jax.random.normal(jax.random.key(1), (1, 6))
    draws = objective.draw(params, jnp.zeros(2), eps, _Fixed(), family)
    log_prob = -jnp.sum(draws.heads["mean"] ** 2, axis=0)
    share = np.repeat(np.exp(family.log_mass(params["encoder"])), 3) / 3
    weight = np.exp(log_prob + draws.log_ratio)
    found = objective.Iwae().terms(draws, log_prob, 1.0)
    assert float(found.loss) == pytest.approx(-np.log(share @ weight), rel=1e-9)
    np.testing.assert_allclose(
        objective.Iwae().shares(draws, log_prob, 1.0), share * weight / (share @ weight), rtol=1e-9
    )
    found = objective.Elbo().terms(draws, log_prob, 1.0)
    assert float(found.reconstruction) == pytest.approx(-share @ np.asarray(log_prob), rel=1e-9)
    assert float(found.loss) == pytest.approx(-share @ np.log(weight), rel=1e-9)
    np.testing.assert_allclose(objective.Elbo().shares(draws, log_prob, 1.0), share, rtol=1e-9)
