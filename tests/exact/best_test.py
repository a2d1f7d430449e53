"""The best members of families, where they are known or can only be so good."""

import numpy as np
import pytest
from scipy import optimize

from spiral_vae.exact import best, ground_truth, inference
from spiral_vae.exact.inference import Posteriors, gaussians
from spiral_vae.maths.observation import around
from spiral_vae.model.posterior import Mixture, Spline
from tests.exact.families import Bare

SIGMA = 0.3
PARABOLA = around(lambda z: np.concatenate([z**2, 0 * z], axis=1), SIGMA)
X = np.array([[1.5, 0.1], [2.5, -0.2], [0.0, 0.0]])  # two modes, two modes, one


@pytest.fixture(scope="module")
def model():
    density = ground_truth.model_density(PARABOLA, 1, reach=3.0)
    log_evidence, _ = density.log_density(X)
    start = gaussians(np.array([[1.0], [1.0], [0.1]]), np.full((3, 1), -3.0))
    return density, log_evidence, best.best_gaussian(X, start, PARABOLA, density)


def _fresh(family):
    return Posteriors(family, {name: np.zeros((3, num)) for name, num in family.heads(1).items()})


def _member(model, family):
    density, log_evidence, gaussian = model
    found = best.best_member(X, _fresh(family), PARABOLA, density, gaussian)
    np.testing.assert_allclose(found.elbo, inference.elbo(X, found.q, PARABOLA).elbo, atol=1e-9)
    return found, log_evidence - found.elbo


def test_a_gaussian_can_have_one_of_two_modes_and_a_mixture_both(model):
    _, log_evidence, gaussian = model
    one = log_evidence - gaussian.elbo
    np.testing.assert_allclose(one[:2], np.log(2), atol=0.02)
    found, two = _member(model, Mixture(num_components=2))
    assert np.all(two[:2] < 0.02) and two[2] <= one[2]
    np.testing.assert_allclose(found.q.mean[:2, 0], 0, atol=1e-3)  # they are mirrored
    _, four = _member(model, Mixture())
    assert np.all((four > -1e-9) & (four <= two + 1e-6))
    assert np.all(four < 2e-3)


def test_two_components_are_the_best_that_scipy_finds(model):
    """The negative of the ELBO as a function of five heads, from where the search ended."""
    family = Mixture(num_components=2)
    found, _ = _member(model, family)
    names, point = list(found.q.heads), 1
    sizes = np.cumsum([found.q.heads[name].shape[1] for name in names])[:-1]

    def loss(flat):
        heads = dict(zip(names, (part[None] for part in np.split(flat, sizes)), strict=True))
        return -inference.elbo(X[point : point + 1], Posteriors(family, heads), PARABOLA).elbo[0]

    start = np.concatenate([found.q.heads[name][point] for name in names])
    other = optimize.minimize(loss, start, method="Nelder-Mead", options={"maxiter": 300})
    assert other.fun > -found.elbo[point] - 1e-5


def test_a_spline_is_better_than_the_gaussian_that_it_starts_from(model):
    _, log_evidence, gaussian = model
    _, gap = _member(model, Spline(num_bins=3))
    assert np.all(gap > -1e-9)
    assert gap[2] < 0.1 * (log_evidence - gaussian.elbo)[2]  # of one mode, flat at its top


def test_a_family_that_says_nothing_of_itself_is_climbed_from_the_encoder(model):
    density, log_evidence, gaussian = model
    heads = {"place": np.array([[1.0], [1.4], [0.1]]), "log_scale": np.full((3, 1), -1.5)}
    found = best.best_member(X, Posteriors(Bare(), heads), PARABOLA, density, gaussian)
    # the search leaves out nodes 30 nats below the highest
    np.testing.assert_allclose(found.elbo, gaussian.elbo, atol=1e-5)


def test_it_is_never_worse_than_what_is_given(model):
    """Here the best Gaussian's own mixture, which nothing can improve upon by much."""
    density, _, gaussian = model
    given, _ = _member(model, Mixture())
    again = best.best_member(X, given.q, PARABOLA, density, gaussian)
    assert np.all(again.elbo >= given.elbo - 1e-12)


def test_refinement_goes_downhill_and_more_steps_go_further(model):
    density, log_evidence, _ = model
    start = Mixture(num_components=2).near
    mean, logvar = np.array([1.0, -1.0]), np.array([-2.0, -2.0])
    heads = {
        name: np.repeat(np.asarray(value)[None], 3, axis=0)
        for name, value in start(mean, logvar, np.zeros(2)).items()
    }
    q = Posteriors(Mixture(num_components=2), heads)
    gaps = [
        log_evidence - inference.elbo(X, own, PARABOLA).elbo
        for own in (q, *(best.refined(X, q, density.fine, steps) for steps in (1, 3, 20)))
    ]
    assert np.all(np.diff(gaps, axis=0) < 1e-9)
    assert np.all(gaps[-1][:2] < 0.05)


def test_each_point_has_its_own_and_not_that_of_its_batch(model):
    density, _, gaussian = model
    together, _ = _member(model, Mixture(num_components=3))
    some = slice(1, 2)
    alone = best.best_member(
        X[some],
        _fresh(Mixture(num_components=3))[some],
        PARABOLA,
        density,
        best.Best(gaussian.q[some], gaussian.elbo[some]),
    )
    np.testing.assert_allclose(alone.elbo, together.elbo[some], atol=1e-7)
