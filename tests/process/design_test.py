"""Places of points: the law of one is the curve's, that of a sequence Gauss-Markov."""

import dataclasses

import jax
import numpy as np
from scipy.special import ndtri
from scipy.stats import kstest

from spiral_vae.process import Spiral
from spiral_vae.process.design import Grid, Random, Sequence

NUM, LENGTH, A = 40_000, 20, 0.9
KEY = jax.random.key(3)


def test_a_sequence_has_the_law_of_the_curve_and_the_correlation_asked_for():
    mass = np.asarray(Sequence(length=LENGTH, a=A).mass(KEY, NUM), float).reshape(-1, LENGTH)
    z = ndtri(np.clip(mass, 1e-7, 1 - 1e-7))
    for t in (0, LENGTH - 1):  # each place for itself: 2 000 independent draws
        assert kstest(mass[:, t], "uniform").pvalue > 1e-3
    # The standard error of a correlation of 2 000 pairs is 0.0043 at 0.9, and 0.02 at 0.
    for lag, band in ((1, 0.02), (5, 0.05), (19, 0.09)):
        found = np.corrcoef(z[:, 0], z[:, lag])[0, 1]
        assert abs(found - A**lag) < band


def test_without_correlation_it_is_a_random_design():
    z = ndtri(np.asarray(Sequence(length=2, a=0.0).mass(KEY, NUM), float)).reshape(-1, 2)
    assert abs(np.corrcoef(z.T)[0, 1]) < 4 / np.sqrt(NUM / 2)


def test_points_are_missing_by_chance_and_hold_nothing():
    design = Sequence(length=LENGTH, a=A, missing=0.25)
    data = Spiral(num_points=NUM, design=design).sample(KEY)
    seen = np.asarray(data.observed) > 0
    assert abs(np.mean(~seen) - 0.25) < 4 * np.sqrt(0.25 * 0.75 / NUM)
    np.testing.assert_array_equal(np.asarray(data.x)[~seen], 0)
    whole = dataclasses.replace(design, missing=0.0)
    other = Spiral(num_points=NUM, design=whole).sample(KEY)
    assert other.observed is None
    np.testing.assert_array_equal(np.asarray(data.x)[seen], np.asarray(other.x)[seen])


def test_designs_say_how_long_their_sequences_are():
    for design in (Grid(), Random()):
        assert design.sequence_length == 1 and design.observed(KEY, 4) is None
    assert Spiral(design=Sequence(length=LENGTH, a=A)).sequence_length == LENGTH
