"""Every likelihood on linear models, where what it must reach is known in closed form."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from spiral_vae.fields import pytree
from spiral_vae.maths.ramp import Time
from spiral_vae.model import networks
from spiral_vae.model.likelihood import (
    ClosedForm,
    Fixed,
    FullCovariance,
    Geco,
    Heteroscedastic,
    Learned,
    PerDimension,
)
from spiral_vae.model.likelihood.covariance import Free, OneSigmaFirst
from spiral_vae.model.likelihood.estimator import Batch, ByGradient, FullData, MovingAverage
from spiral_vae.model.likelihood.heteroscedastic import (
    BetaNll,
    Faithful,
    IntegratedOut,
    Plain,
    Variational,
)
from spiral_vae.model.likelihood.heteroscedastic import OneSigmaFirst as OneSigmaForAllZ
from spiral_vae.training import train
from tests.lanes import make_lane

DIM = 2  # of the data
LAM1, LAM2 = 1.8, 0.3  # eigenvalues of the data's covariance
NUM_STEPS = 4_000


@dataclasses.dataclass(frozen=True)
class Linear:
    """q(z|x) = N(v x + c, exp(logvar)) and a mean w z + b: with a Gaussian, probabilistic PCA."""

    def encode(self, params, x):
        own = params["encoder"]
        mean = own["v"] @ x + own["c"][:, None]
        return {"mean": mean, "logvar": jnp.broadcast_to(own["logvar"][:, None], mean.shape)}

    def decode(self, params, z):
        own = params["decoder"]
        mean = jnp.tensordot(own["w"], z, axes=1) + own["b"][:, None, None]
        logvar = own["logvar"][:, None, None]  # for `warmup` alone, and even there not in use
        return {"mean": mean, "logvar": jnp.broadcast_to(logvar, mean.shape)}


def _data(num=40):
    """Points [num, 2] whose covariance has exactly the eigenvalues LAM1, LAM2."""
    x = np.random.default_rng(0).normal(size=(num, 2))
    x -= x.mean(axis=0)
    x = x @ np.linalg.inv(np.linalg.cholesky(x.T @ x / num)).T
    angle = np.array([[0.8, -0.6], [0.6, 0.8]])
    return jnp.asarray(x * np.sqrt([LAM1, LAM2]) @ angle.T, jnp.float32)


@pytree
@dataclasses.dataclass(frozen=True, kw_only=True)
class _Lane(train.Lane):
    """A lane with the linear model in place of its networks."""

    @property
    def vae(self):
        return Linear()


@functools.cache
def _fit_compiled(rate):
    x = _data()
    # Noise of +-1 is a rule that is exact for a quadratic log-likelihood: nothing is random.
    eps = jnp.broadcast_to(jnp.array([[1.0], [-1.0]]), (1, 2, len(x)))
    base = make_lane(
        num_points=len(x),
        batch_size=len(x),
        shuffle=False,
        num_samples=2,
        num_epochs=NUM_STEPS,
        encoder_learning_rate=rate,
        decoder_learning_rate=rate,
        schedule="cosine",
    )

    def fit(likelihood):
        lane = _Lane(**vars(base) | {"likelihood": likelihood})
        params, carried = likelihood.init(DIM)
        params = {
            "encoder": {"v": jnp.array([[0.3, 0.1]]), "c": jnp.zeros(1), "logvar": jnp.zeros(1)},
            "decoder": {
                "w": jnp.array([[0.5], [0.2]]),
                "b": jnp.zeros(DIM),
                "logvar": jnp.zeros(DIM),
            },
            "likelihood": params,
        }

        def step(carry, index):
            batch = train.Batch(
                x=x.T,
                eps=eps,
                weight=jnp.ones(len(x)),
                share=jnp.ones(()),
                time=Time(epoch=index, progress=index / NUM_STEPS),
                kl_weight=jnp.ones(()),
            )
            (params, opt_state, carried), _ = train.train_step(carry, batch, lane)
            return (params, opt_state, likelihood.end_epoch(carried)), None

        carry = (params, train._ADAM.init(params), carried)
        (params, _, carried), _ = jax.lax.scan(step, carry, jnp.arange(1.0 * NUM_STEPS))
        return params["encoder"], params["decoder"], params["likelihood"] | carried

    return jax.jit(fit)


def _fit(likelihood, rate=1e-2):
    """Returns encoder, decoder and the values of the likelihood after training on all points."""
    return _fit_compiled(rate)(jax.tree.map(jnp.float32, likelihood))


def _sigma(likelihood, values):
    return np.asarray(likelihood.observation(values, {"mean": jnp.zeros(DIM)}).scale)


def _matrix(scale):
    """A scale of one number a dimension as a matrix, one that is a matrix as it is."""
    return scale if np.ndim(scale) == 2 else np.diag(scale)


def _time(progress):
    return Time(epoch=jnp.zeros(()), progress=jnp.float32(progress))


def _geco(kappa=None):
    return Geco(sigma=0.7, kappa=kappa, geco_rate=0.03, geco_averaging=0.9)


LEARNED = ByGradient(learning_rate=3e-2)
ISOTROPIC = {
    "full_data": ClosedForm(sigma=0.9, estimator=FullData()),
    "batch": ClosedForm(sigma=0.9, estimator=Batch()),
    "moving_average": ClosedForm(sigma=0.9, estimator=MovingAverage(averaging=0.1)),
    "learned": Learned(sigma=0.9, learning_rate=LEARNED.learning_rate),
    "geco": _geco(),
    "warmup": Heteroscedastic(sigma=0.9, stabiliser=OneSigmaForAllZ(warmup=1.0, averaging=0.1)),
}
DIRECTED = {"per_dimension": PerDimension, "full": FullCovariance}
covariances = pytest.mark.parametrize("covariance", DIRECTED)


@pytest.mark.parametrize("name", ISOTROPIC)
def test_isotropic_kinds_reach_the_sigma_of_probabilistic_pca(name):
    """Tipping & Bishop 1999: sigma^2 is the mean of the discarded eigenvalues, here LAM2."""
    likelihood = ISOTROPIC[name]
    encoder, decoder, values = _fit(likelihood)
    sigma = np.asarray(values["scale"]) if name == "warmup" else _sigma(likelihood, values)
    assert sigma == pytest.approx(np.sqrt(LAM2), rel=1e-3)
    assert np.sum(np.square(decoder["w"])) == pytest.approx(LAM1 - LAM2, rel=2e-3)
    assert np.exp(encoder["logvar"][0]) == pytest.approx(LAM2 / LAM1, rel=2e-3)
    if name == "geco":
        assert np.exp(values["log_kappa"]) == pytest.approx(np.sqrt(LAM2), rel=1e-3)


@pytest.mark.parametrize("kappa2", [0.2, 0.3, 0.6, 0.9])
def test_geco_within_its_window_has_the_sigma_that_meets_the_constraint(kappa2):
    """E||x - m||^2 = LAM2 + min(sigma^2, LAM1) = 2 kappa^2 between LAM2 / 2 and Tr(C) / 2."""
    likelihood = _geco(np.sqrt(kappa2))
    _, _, values = _fit(likelihood)
    assert _sigma(likelihood, values) ** 2 == pytest.approx(2 * kappa2 - LAM2, rel=1e-3)


@pytest.mark.parametrize(
    ("moment", "averaging", "rate", "constraint", "step"),
    [
        (2.0, 0.9, 0.03, 0.1, 0.003),  # an error of twice kappa^2: a relative excess of 1
        (0.5, 0.9, 0.03, -0.05, -0.0015),
        (0.0, 0.0, 1.0, -1.0, -0.05),  # log lambda moves by no more than that, either way
        (9.0, 0.0, 1.0, 8.0, 0.05),
    ],
)
def test_one_step_of_geco(moment, averaging, rate, constraint, step):
    likelihood = Geco(sigma=1.0, kappa=1.0, geco_rate=rate, geco_averaging=averaging)
    _, carried = likelihood.init(2)
    after = likelihood.update(carried, moment * jnp.eye(2), 1.0, Time(0, 0.0))
    np.testing.assert_allclose(after["constraint"], constraint, rtol=1e-6)
    moved = after["log_lambda"] - carried["log_lambda"]
    np.testing.assert_allclose(moved, step, atol=1e-7)
    assert after["log_kappa"] == carried["log_kappa"] == 0


@pytest.mark.parametrize(
    ("log_sigma", "log_kappa", "excess"),
    [(0.0, 0.5, 1.0), (1.0, -0.5, -3.0), (0.0, 10.0, 5.0), (3.5, 0.0, -5.0)],
)
def test_one_step_of_kappa(log_sigma, log_kappa, excess):
    """It goes after sigma by a share of log kappa^2 - log sigma^2, which is at most 5 in size."""
    likelihood = Geco(sigma=np.exp(log_sigma), kappa=None, geco_rate=0.03, geco_averaging=0.9)
    _, carried = likelihood.init(2)
    carried |= {"log_kappa": jnp.float32(log_kappa)}
    moment = jnp.exp(2 * log_kappa) * jnp.eye(2)  # so that lambda stays
    after = likelihood.update(carried, moment, 1.0, Time(0, 0.0))
    np.testing.assert_allclose(after["log_lambda"], carried["log_lambda"], atol=1e-6)
    moved = after["log_kappa"] - carried["log_kappa"]
    np.testing.assert_allclose(moved, 0.05 * 0.03 * excess, rtol=1e-3)


def test_geco_above_its_window_collapses():
    likelihood = _geco(np.sqrt(1.2 * (LAM1 + LAM2) / 2))
    _, decoder, values = _fit(likelihood)
    assert np.sum(np.square(decoder["w"])) < 1e-6
    assert _sigma(likelihood, values) > 5 * np.sqrt(LAM1)  # the multiplier falls and falls


@covariances
def test_closed_form_and_learned_covariances_are_the_moment_of_frozen_networks(covariance):
    """With the networks held still the best S is E (x - m)(x - m)^T, or its diagonal."""
    x = np.asarray(_data(), np.float64)
    z = (x @ [0.3, 0.1])[:, None] + [1.0, -1.0]
    residual = x[:, None] - z[..., None] * [0.5, 0.2]
    moment = np.mean(residual[..., None] * residual[..., None, :], axis=(0, 1))
    expected = moment if covariance == "full" else np.diag(np.diagonal(moment))
    for estimator in (FullData(), LEARNED):
        likelihood = DIRECTED[covariance](sigma=0.9, estimator=estimator)
        _, _, values = _fit(likelihood, rate=0.0)
        scale = _matrix(_sigma(likelihood, values))
        np.testing.assert_allclose(scale @ scale.T, expected, rtol=1e-3)


@pytest.mark.parametrize("sigma", [1e-4, 0.2, 1.0, 3.0])
def test_fixed_is_a_normal_whose_standard_deviation_is_sigma(sigma):
    x, mean = [0.3, -1.0], [0.1, 0.4]
    with jax.enable_x64(True):
        found = Fixed(sigma=sigma).log_prob({}, jnp.array(x), {"mean": jnp.array(mean)})
    assert float(found) == pytest.approx(stats.norm(mean, sigma).logpdf(x).sum(), rel=1e-12)


def test_sigma_is_a_leaf():
    """So it can be a lane of a sweep."""
    assert sorted(jax.tree.leaves(Fixed(sigma=0.2, anneal_from=0.5))) == [0.2, 0.5]


def _heteroscedastic(stabiliser, **numbers):
    return Heteroscedastic(sigma=0.5, stabiliser=stabiliser, **numbers)


HEADS = {"mean": jnp.array([0.1, 0.4]), "logvar": jnp.array([-1.0, 0.3])}
X = jnp.array([0.3, -1.0])


@pytest.mark.parametrize("free", [0.0, 1.0])
@pytest.mark.parametrize(
    "stabiliser",
    [Plain(), BetaNll(), Faithful(), OneSigmaForAllZ(), IntegratedOut(), Variational()],
    ids=lambda stabiliser: type(stabiliser).__name__,
)
def test_a_formula_gives_the_scale_without_the_class(stabiliser, free):
    likelihood = _heteroscedastic(stabiliser, floor=0.1)
    values = {name: value * 0 + 0.3 for name, value in likelihood.init(DIM)[1].items()}
    values |= {"free": jnp.asarray(free)} if "free" in values else {}
    heads = {"mean": jnp.zeros(2), "logvar": jnp.asarray([-30.0, 0.7]), "dof": jnp.ones(2)}
    found, made = likelihood.formula(values, DIM), likelihood.observation(values, heads)
    log = np.clip(found.offset + found.factor * np.asarray([-30.0, 0.7]), found.low, found.high)
    np.testing.assert_allclose(np.sqrt(found.floor**2 + np.exp(log)), made.scale, rtol=1e-5)
    if made.noise.gaussian:
        assert found.least_dof is None
    else:
        np.testing.assert_allclose(found.least_dof + np.log1p(np.e), made.noise.dof, rtol=1e-6)
    assert Fixed().formula({}, DIM) is None


def test_floor_is_under_every_standard_deviation():
    found = _heteroscedastic(Plain(), floor=0.3).observation(
        {}, HEADS | {"logvar": jnp.array([-30.0, 0.0])}
    )
    # -30 is outside of the head's bounds, which leave a standard deviation of 1e-3.
    np.testing.assert_allclose(found.scale, np.hypot(0.3, [1e-3, 0.5]), rtol=1e-6)


def test_student_t_is_the_mixture_of_gaussians_that_its_gamma_weighs():
    """Integrates N(x; m, 1/l) Gamma(l; a, b) over l; the variational bound is one of it."""
    heads = HEADS | {"dof": jnp.array([0.5, 2.0])}
    student = _heteroscedastic(IntegratedOut()).observation({}, heads)
    a = 0.5 * np.asarray(student.noise.dof, np.float64)
    b = a * np.asarray(student.scale, np.float64) ** 2
    level = np.linspace(1e-6, 1 - 1e-6, 200_001)
    total = 0.0
    for i in range(DIM):
        precision = stats.gamma(a[i], scale=1 / b[i]).ppf(level)
        density = stats.norm(HEADS["mean"][i], precision**-0.5).pdf(X[i])
        total += np.log(np.mean(density))
    assert float(student.log_prob(X)) == pytest.approx(total, abs=2e-4)


def test_variational_bound_and_its_divergence():
    """E_q log N - KL(q || p), with both expectations over the precision sampled by quantiles."""
    heads = HEADS | {"dof": jnp.array([0.5, 2.0])}
    likelihood = _heteroscedastic(Variational())
    student = likelihood.observation({}, heads)
    a = 0.5 * np.asarray(student.noise.dof, np.float64)
    b = a * np.asarray(student.scale, np.float64) ** 2
    level = (np.arange(400_000) + 0.5) / 400_000
    total = 0.0
    for i in range(DIM):
        q, p = stats.gamma(a[i], scale=1 / b[i]), stats.gamma(1.0, scale=1e3)
        precision = q.ppf(level)
        log_normal = stats.norm(HEADS["mean"][i], precision**-0.5).logpdf(X[i])
        total += np.mean(log_normal + p.logpdf(precision) - q.logpdf(precision))
    assert float(likelihood.log_prob({}, X, heads)) == pytest.approx(total, abs=1e-3)


@pytest.mark.parametrize("exponent", [0.0, 0.5, 1.0])
def test_beta_nll_weighs_the_gradient_and_is_the_likelihood_at_zero(exponent):
    """At 1 the mean's gradient is that of half the squared error (Seitzer et al., eq. 9)."""
    likelihood = _heteroscedastic(BetaNll(beta_nll=exponent))
    found = jax.grad(lambda heads: likelihood.decoder_log_prob({}, X, heads))(HEADS)
    plain = jax.grad(lambda heads: likelihood.log_prob({}, X, heads))(HEADS)
    weight = np.asarray(likelihood.observation({}, HEADS).scale) ** (2 * exponent)
    for name in HEADS:
        np.testing.assert_allclose(found[name], weight * plain[name], rtol=1e-5)
    if exponent == 1.0:
        np.testing.assert_allclose(found["mean"], X - HEADS["mean"], rtol=1e-5)


def test_faithful_mean_knows_no_variance_and_variance_trains_no_mean():
    likelihood = _heteroscedastic(Faithful())
    found = jax.grad(lambda heads: likelihood.decoder_log_prob({}, X, heads))(HEADS)
    plain = jax.grad(lambda heads: likelihood.log_prob({}, X, heads))(HEADS)
    np.testing.assert_allclose(found["mean"], X - HEADS["mean"], rtol=1e-6)
    np.testing.assert_allclose(found["logvar"], plain["logvar"], rtol=1e-6)

    decoder = networks.Network(
        hidden=networks.Hidden(hidden_dim=3, hidden_layers=1),
        heads=tuple(likelihood.heads(DIM).items()),
        detached=likelihood.detached,
    )
    z = jnp.ones((1, 1))
    params = decoder.init(jax.random.key(0), z)

    def logvar(params):
        return jnp.sum(decoder.apply(params, z)["logvar"])

    grads = jax.grad(logvar)(params)["params"]
    assert np.all(grads["hidden_0"]["kernel"] == 0)
    assert np.any(grads["logvar"]["kernel"] != 0)


def test_warmup_has_one_sigma_and_then_the_head_around_it():
    likelihood = _heteroscedastic(OneSigmaForAllZ(warmup=0.5, averaging=1.0))
    _, carried = likelihood.init(DIM)
    moment = jnp.diag(jnp.array([0.1, 0.3]))
    before = likelihood.update(carried, moment, jnp.ones(()), _time(0.49))
    np.testing.assert_allclose(
        likelihood.observation(before, HEADS).scale, np.sqrt([0.2, 0.2]), rtol=1e-6
    )
    after = likelihood.update(before, 100 * moment, jnp.ones(()), _time(0.5))
    expected = np.sqrt(0.2) * np.exp(0.5 * np.asarray(HEADS["logvar"]))
    np.testing.assert_allclose(likelihood.observation(after, HEADS).scale, expected, rtol=1e-6)


MOMENT = jnp.array([[0.4, 0.1], [0.1, 0.2]])


@pytest.mark.parametrize(
    "estimator", [FullData(), Batch(), MovingAverage(averaging=1.0)], ids=lambda e: type(e).__name__
)
@covariances
def test_a_closed_form_is_isotropic_until_its_warmup_ends(covariance, estimator):
    """Before: the mean of the variances, 0.3, in all directions. After: the moment itself."""
    stabiliser = OneSigmaFirst(warmup=0.5)
    likelihood = DIRECTED[covariance](sigma=0.9, estimator=estimator, stabiliser=stabiliser)
    _, carried = likelihood.init(DIM)

    def covariance_after(carried, progress):
        for _ in range(2):  # halves of the data; after both the full data's is set
            share = jnp.float32(0.5)
            carried = likelihood.update(carried, MOMENT, share, _time(progress))
        carried = likelihood.end_epoch(carried)
        scale = _matrix(_sigma(likelihood, carried))
        return carried, scale @ scale.T

    carried, before = covariance_after(carried, 0.49)
    np.testing.assert_allclose(before, 0.3 * np.eye(2), atol=1e-6)
    _, after = covariance_after(carried, 0.5)
    expected = MOMENT if covariance == "full" else np.diag(np.diagonal(MOMENT))
    np.testing.assert_allclose(after, expected, atol=1e-6)


@covariances
def test_a_learned_covariance_is_one_number_until_its_warmup_ends(covariance):
    """Before: the geometric mean of both sigmas, and equal gradients to both. After: free."""
    stabiliser = OneSigmaFirst(warmup=0.5)
    likelihood = DIRECTED[covariance](sigma=0.9, estimator=ByGradient(), stabiliser=stabiliser)
    params, carried = likelihood.init(DIM)
    params["log_scale"] = jnp.log(jnp.array([0.1, 0.4]))
    if covariance == "full":
        params["lower"] = jnp.array([[0.0, 0.0], [0.5, 0.0]])
    heads = {"mean": jnp.array([0.1, 0.4])}

    def found(progress):
        """Returns the scale as a matrix and the gradients of log p."""
        values = likelihood.update(carried, MOMENT, jnp.ones(()), _time(progress))
        grads = jax.grad(lambda own: likelihood.log_prob(own | values, X, heads))(params)
        return _matrix(_sigma(likelihood, params | values)), grads

    scale, grads = found(0.49)
    np.testing.assert_allclose(scale, 0.2 * np.eye(2), rtol=1e-6)
    np.testing.assert_allclose(grads["log_scale"][0], grads["log_scale"][1], rtol=1e-6)
    assert np.all(grads["log_scale"] != 0)
    if covariance == "full":
        assert np.all(grads["lower"] == 0)
    scale, grads = found(0.5)
    lower = 0.5 * 0.4 if covariance == "full" else 0.0
    np.testing.assert_allclose(scale, [[0.1, 0.0], [lower, 0.4]], rtol=1e-6)
    assert abs(float(grads["log_scale"][0] - grads["log_scale"][1])) > 1


def test_without_a_warmup_a_likelihood_carries_nothing_for_it():
    """So that what was trained before there was one has the same params."""
    plain = FullCovariance(sigma=0.9, estimator=ByGradient())
    assert plain.init(DIM)[1] == {}
    warm = dataclasses.replace(plain, stabiliser=OneSigmaFirst(warmup=0.5))
    assert set(warm.init(DIM)[1]) == {"free"}


@pytest.mark.parametrize("estimator", [FullData(), LEARNED], ids=["closed", "learned"])
def test_a_covariance_after_a_warmup_is_the_moment_of_frozen_networks(estimator):
    """The whole training, half of it with one sigma: it ends where it would without."""
    kinds = (
        FullCovariance(sigma=0.9, estimator=estimator, stabiliser=stabiliser)
        for stabiliser in (Free(), OneSigmaFirst(warmup=0.3))
    )
    scales = [_sigma(kind, _fit(kind, rate=0.0)[2]) for kind in kinds]
    np.testing.assert_allclose(scales[1], scales[0], rtol=1e-3)
    assert abs(scales[0][1, 0]) > 0.1  # and not isotropic


def test_rate_is_that_of_what_is_learned():
    assert Learned(sigma=0.9, learning_rate=0.02).rate == 0.02
    for kind in DIRECTED.values():
        assert kind(estimator=ByGradient(learning_rate=0.02)).rate == 0.02
        assert kind(estimator=FullData()).rate == 0
    for kind in (Fixed, ClosedForm, Geco, Heteroscedastic):
        assert kind().rate == 0


@pytest.mark.parametrize("dim", [1, 3])
@pytest.mark.parametrize("estimator", [FullData(), Batch(), ByGradient()], ids=str)
def test_a_covariance_of_any_dimension_starts_from_sigma(estimator, dim):
    for kind in DIRECTED.values():
        likelihood = kind(sigma=0.7, estimator=estimator)
        params, carried = likelihood.init(dim)
        heads = {"mean": jnp.zeros(dim)}
        scale = likelihood.observation(params | carried, heads).scale
        np.testing.assert_allclose(_matrix(scale), 0.7 * np.eye(dim), rtol=1e-6)
        moment = jnp.diag(jnp.arange(1.0, dim + 1))
        carried = likelihood.update(carried, moment, jnp.ones(()), _time(0.0))
        carried = likelihood.end_epoch(carried)
        scale = likelihood.observation(params | carried, heads).scale
        expected = 0.7 * np.eye(dim) if params else np.sqrt(moment)
        np.testing.assert_allclose(_matrix(scale), expected, rtol=1e-6, atol=1e-7)


# A sigma that falls


@pytest.mark.parametrize("kind", [Fixed, Learned])
def test_annealing_adds_noise_to_what_is_trained_and_not_to_what_is_judged(kind):
    likelihood = kind(sigma=0.3, anneal=0.5, anneal_from=0.8)
    params, carried = likelihood.init(DIM)
    carried = likelihood.begin(carried, _data(), 4)
    first = 0.8 * np.sqrt(LAM1)
    x, heads = jnp.array([0.4, -0.7]), {"mean": jnp.array([0.1, 0.2])}
    for progress, added in (
        (0.0, first),
        (0.25, first * 0.05**0.5),
        (0.499, first * 0.05**0.998),
        (0.5, 0.0),
        (0.9, 0.0),
    ):
        time = Time(jnp.asarray(100 * progress), jnp.asarray(progress))
        carried = likelihood.update(carried, jnp.eye(DIM), jnp.ones(()), time)
        found = likelihood.log_prob(params | carried, x, heads)
        wanted = stats.norm(heads["mean"], np.hypot(0.3, added)).logpdf(x).sum()
        assert float(found) == pytest.approx(wanted, rel=1e-5), progress  # float32
        judged = likelihood.observation(params | carried, heads)
        assert float(judged.scale) == pytest.approx(0.3, rel=1e-6)


def test_no_annealing_carries_nothing():
    for kind in (Fixed, Learned):
        assert kind(sigma=0.3).begin({}, _data(), 4) == {}


def test_freedom_takes_the_bias_of_fitted_residuals():
    # A linear fit of c parameters to n D numbers: sum of squares / (n D - c) is unbiased.
    rng = np.random.default_rng(0)
    num, dim, params = 12, 2, 7
    basis = np.linalg.qr(rng.normal(size=(num * dim, params)))[0]
    likelihood = Learned(sigma=0.5, freedom=float(params))
    found = []
    for _ in range(400):
        noise = 0.3 * rng.normal(size=num * dim)
        residual = (noise - basis @ (basis.T @ noise)).reshape(num, dim)
        scale, carried = likelihood.init(dim)
        carried = likelihood.begin(carried, jnp.asarray(residual, "f"), num)

        def loss(log_scale, carried=carried, residual=residual):
            values = {"log_scale": log_scale} | carried
            heads = {"mean": jnp.zeros(dim)}
            x = jnp.asarray(residual, "f")
            return -jnp.mean(jax.vmap(lambda x: likelihood.log_prob(values, x, heads))(x))

        best = np.sqrt(np.sum(residual**2) / (num * dim - params))
        assert float(jax.grad(loss)(jnp.log(best))) == pytest.approx(0, abs=1e-5)  # float32
        found.append(best**2)
        assert scale.keys() == {"log_scale"}
    error = np.std(found) / np.sqrt(len(found))
    assert abs(np.mean(found) - 0.3**2) < 4 * error


def test_what_is_judged_knows_nothing_of_freedom():
    likelihood = Learned(sigma=0.3, freedom=9.0)
    params, carried = likelihood.init(DIM)
    values = params | likelihood.begin(carried, _data(), 4)
    judged = likelihood.observation(values, {"mean": jnp.zeros(DIM)})
    assert float(judged.scale) == pytest.approx(0.3, rel=1e-6)


@pytest.mark.parametrize("dim", [1, 2, 5])
def test_annealing_starts_below_the_largest_variance_in_any_direction(dim):
    rng = np.random.default_rng(dim)
    line = 1e3 + rng.normal(size=(30, 1)) * np.arange(1, dim + 1)
    for x in (rng.normal(size=(30, dim)) @ rng.normal(size=(dim, dim)), line):
        carried = Fixed(sigma=0.3, anneal=0.5, anneal_from=1.0).begin({}, jnp.asarray(x, "f"), 30)
        wanted = np.sqrt(np.linalg.eigvalsh(np.atleast_2d(np.cov(x.T, ddof=0)))[-1])
        assert float(carried["anneal_from"]) == pytest.approx(wanted, rel=1e-4)  # float32
