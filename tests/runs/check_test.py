"""A user's kinds that break their contracts are named, with the method, before any training."""

import dataclasses

import jax.numpy as jnp
import pytest

import spiral_vae as sv
from spiral_vae import fields
from spiral_vae.config import axes, lanes
from spiral_vae.config.values import ConfigError, complete, with_values
from spiral_vae.fields import pytree
from spiral_vae.model.objective import Elbo
from spiral_vae.model.posterior import Gaussian, Mixture
from spiral_vae.runs import check, run
from tests.lanes import make_config


@pytest.fixture
def own():
    """Returns a function that makes a class a kind 'own', for this test alone."""
    registered = []

    def register(family, cls):
        own = dataclasses.dataclass(frozen=True, kw_only=True)(cls)
        own = fields.kind(family, "own")(own)
        registered.append(family)
        return own

    yield register
    for family in registered:
        del fields._FAMILIES[family].kinds["own"]


def _check(family, **values):
    """Checks the lanes of a config with the kind 'own'."""
    config = make_config()
    complete(config)
    config = with_values(config, {f"{family}.kind": "own", **values})
    _, rows = axes.expand(config, config.sweep)
    check.kinds(lanes.groups(config, rows))


def _told(family, **values):
    with pytest.raises(ConfigError) as caught:
        _check(family, **values)
    (line,) = str(caught.value).splitlines()
    assert line.startswith(f"{__file__}: ")
    return line.removeprefix(f"{__file__}: ")


# Sound ones, from which the others differ in one method each


class Noise(sv.Likelihood):
    def observation(self, values, heads):
        return sv.Observation(mean=heads["mean"], scale=jnp.asarray(self.sigma))


class Line(sv.PlaneCurve):
    def point(self, t):
        return jnp.stack([t, 1 - t])


SOUND = {
    "likelihood": Noise,
    "data": Line,
    "posterior": type("Normal", (Gaussian,), {"__module__": __name__}),
    "objective": type("Bound", (Elbo,), {"__module__": __name__}),
}


@pytest.mark.parametrize("num_latents", [1, 2])
@pytest.mark.parametrize("family", SOUND)
def test_a_sound_kind_is_let_through(own, family, num_latents):
    own(family, type("Own", (SOUND[family],), {"__module__": __name__}))
    _check(family, **{"model.latent_dim": num_latents, "objective.num_samples": 3})


def test_kinds_of_this_package_are_not_checked(monkeypatch):
    monkeypatch.setattr(check, "CHECKED", dict.fromkeys(SOUND))
    config = make_config()
    _, rows = axes.expand(config, config.sweep)
    check.kinds(lanes.groups(config, rows))


# Likelihoods


def test_a_mean_of_the_wrong_shape(own):
    class Flat(Noise):
        def observation(self, values, heads):
            return sv.Observation(mean=heads["mean"][:1], scale=jnp.asarray(self.sigma))

    own("likelihood", Flat)
    assert _told("likelihood") == (
        "Flat.observation().mean gives an array of shape [1], must be [dimensions], here [2]"
    )


def test_a_scale_of_the_wrong_shape(own):
    class Wide(Noise):
        def observation(self, values, heads):
            return sv.Observation(mean=heads["mean"], scale=jnp.ones(3))

    own("likelihood", Wide)
    assert _told("likelihood") == (
        "Wide.observation() gives a scale of shape [3], must be one of [], [2] and [2, 2]"
    )


def test_an_error_in_a_method_is_told_with_its_line(own):
    class Broken(Noise):
        def observation(self, values, heads):
            return values["scale"]

    own("likelihood", Broken)
    number = Broken.observation.__code__.co_firstlineno + 1
    assert _told("likelihood") == f"Broken.observation() fails in line {number}, KeyError: 'scale'"


def test_an_error_of_jax_in_a_method_is_one_line(own):
    class Broken(Noise):
        def log_prob(self, values, x, heads):
            return jnp.ones(3) @ jnp.ones(4)

    own("likelihood", Broken)
    assert _told("likelihood").startswith("Broken.log_prob() fails in line ")


def test_what_is_no_observation(own):
    class Nothing(Noise):
        def observation(self, values, heads):
            return None

    own("likelihood", Nothing)
    assert _told("likelihood") == "Nothing.observation() gives None, must be an Observation"


def test_heads_without_a_mean(own):
    class Headless(Noise):
        def heads(self, dim):
            return {"centre": dim}

    own("likelihood", Headless)
    told = "Headless.heads() gives {'centre': 2}, must have 'mean' of the size 2"
    assert _told("likelihood") == told


def test_a_noise_that_does_not_integrate_to_one(own):
    @pytree
    @dataclasses.dataclass(frozen=True)
    class Laplace(sv.Normal):
        def log_prob(self, y):
            return -jnp.abs(y)  # without its log 2

    class Peaked(Noise):
        def observation(self, values, heads):
            scale = jnp.asarray(self.sigma)
            return sv.Observation(mean=heads["mean"], scale=scale, noise=Laplace())

    own("likelihood", Peaked)
    assert _told("likelihood") == (
        "Laplace.log_prob() is the log of a density that integrates to 2 over y"
    )


@pytest.mark.parametrize("given", [({},), ({}, None), [{}, {}]])
def test_a_start_that_is_not_two_dicts(own, given):
    class Started(Noise):
        def init(self, dim):
            return given

    own("likelihood", Started)
    assert _told("likelihood") == "Started.init() must give two dicts: params and what is carried"


def test_carried_values_that_change_their_shape(own):
    class Growing(Noise):
        def init(self, dim):
            return {}, {"scale": jnp.ones(())}

        def update(self, carried, moment, share, time):
            return {"scale": jnp.diagonal(moment)}

    own("likelihood", Growing)
    assert _told("likelihood") == (
        "Growing.update() must give what is carried in the shapes that init() gives"
    )


# Posteriors


def test_a_posterior_that_does_not_integrate_to_one(own):
    class Heavy(Gaussian):
        def log_prob(self, heads, z):
            return super().log_prob(heads, z) + jnp.log(1.5)

    own("posterior", Heavy)
    assert _told("posterior") == (
        "Heavy.log_prob() is the log of a density that integrates to 1.5 over z"
    )


def test_a_posterior_whose_log_prob_has_a_wrong_shape(own):
    class Apart(Gaussian):
        def log_prob(self, heads, z):
            return super().log_prob(heads, z)[None]

    own("posterior", Apart)
    assert _told("posterior") == (
        "Apart.log_prob() gives an array of shape [1, 3, 4], must be [samples, points], here [3, 4]"
    )


def test_masses_of_strata_in_the_wrong_shape(own):
    class Halves(Mixture):
        def log_mass(self, heads):
            return super().log_mass(heads)[:1]

    own("posterior", Halves)
    assert _told("posterior") == (
        "Halves.log_mass() gives an array of shape [1, 4], must be [strata, points], here [4, 4]"
    )


def test_a_noise_without_draws_on_the_device(own):
    """Only an encoder that learns from draws of the model needs them."""

    @sv.pytree
    @dataclasses.dataclass(frozen=True)
    class Still(sv.Normal):
        sample = sv.Noise.sample

    class Quiet(Noise):
        def observation(self, values, heads):
            found = super().observation(values, heads)
            return dataclasses.replace(found, noise=Still())

    own("likelihood", Quiet)
    _check("likelihood")
    assert _told("likelihood", **{"encoder.after": 0.3}) == (
        "Still.sample() fails NotImplementedError: an encoder that learns from draws of the model "
        "needs it"
    )


def test_a_sample_that_is_not_finite(own):
    class Far(Gaussian):
        def sample(self, heads, eps):
            return eps / 0

    own("posterior", Far)
    assert _told("posterior") == "Far.sample() gives numbers that are not finite"


# Objectives


def test_terms_of_a_wrong_shape(own):
    class Total(Elbo):
        def terms(self, draws, log_prob, weight):
            terms = super().terms(draws, log_prob, weight)
            return dataclasses.replace(terms, loss=jnp.mean(terms.loss))

    own("objective", Total)
    assert _told("objective") == (
        "Total.terms().loss gives an array of shape [], must be [points], here [4]"
    )


def test_shares_that_do_not_add_up_to_one(own):
    class Greedy(Elbo):
        def shares(self, draws, log_prob, weight):
            return jnp.ones_like(log_prob)

    own("objective", Greedy)
    told = "Greedy.shares() must add up to 1 over the samples"
    assert _told("objective", **{"objective.num_samples": 3}) == told


# Curves


def test_a_point_of_a_wrong_shape(own):
    class Row(sv.PlaneCurve):
        def point(self, t):
            return jnp.stack([t, t, t])

    own("data", Row)
    assert _told("data") == (
        "Row.point() gives an array of shape [3], must be the point of one t, [dim], here [2]"
    )


def test_a_curve_is_asked_on_its_pieces_alone(own):
    class Arcs(sv.PlaneCurve):
        def pieces(self):
            return jnp.array([[0.0, 1.0], [2.0, 3.0]])

        def density(self, t):
            return jnp.full_like(t, 0.5)

        def quantile(self, u):
            return jnp.where(u < 0.5, 2 * u, 1 + 2 * u)

        def cdf(self, t):
            return jnp.where(t < 1.5, 0.5 * t, 0.5 * (t - 1))

        def point(self, t):
            s = jnp.where(t < 1.5, t, t - 2)
            return jnp.stack([t, jnp.where((s < 0) | (s > 1), jnp.nan, s)])

    own("data", Arcs)
    _check("data")


def test_a_process_that_does_not_say_its_dimension(own):
    class Bare(sv.Interval):
        def point(self, t):
            return t[None]

    own("data", Bare)
    assert _told("data") == "Bare.dim is None, must be the number of data dimensions"


def test_a_sample_that_is_no_data(own):
    class Pair(Line):
        def sample(self, key):
            data = super().sample(key)
            return data.t, data.x

    own("data", Pair)
    told = "Pair.sample().x gives None, must be [num_points, dim], here [10, 2]"
    assert _told("data") == told


def test_a_cdf_that_is_not_the_inverse_of_quantile(own):
    class Shifted(Line):
        def cdf(self, t):
            return super().cdf(t) ** 2

    own("data", Shifted)
    assert _told("data") == "Shifted.cdf() must be the inverse of quantile()"


def test_a_density_that_does_not_integrate_to_one(own):
    class Half(Line):
        def density(self, t):
            return 0.5 * super().density(t)

    own("data", Half)
    assert _told("data") == ("Half.density() is a density that integrates to 0.5 over its pieces")


def test_a_broken_kind_is_refused_before_anything_is_written(own, tmp_path):
    class Greedy(Elbo):
        def shares(self, draws, log_prob, weight):
            return 2 * super().shares(draws, log_prob, weight)

    own("objective", Greedy)
    config = make_config()
    complete(config)
    config.objective.kind = "own"
    with pytest.raises(ConfigError, match=r"Greedy.shares\(\)"):
        run.train_and_evaluate(config, str(tmp_path / "new"), figures="none")
    assert not any(tmp_path.iterdir())


def test_any_lane_of_a_sweep_is_checked(own, tmp_path):
    class Greedy(Elbo):
        def shares(self, draws, log_prob, weight):
            return 2 * super().shares(draws, log_prob, weight)

    own("objective", Greedy)
    config = make_config(sweep=("objective.kind=elbo,own",))
    complete(config)
    with pytest.raises(ConfigError, match=r"Greedy.shares\(\)"):
        run.train_and_evaluate(config, str(tmp_path / "new"), figures="none")
