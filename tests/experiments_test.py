"""Each experiment runs at its quick size and leaves its figure and table."""

import dataclasses
import importlib
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from experiments import (
    amortisation,
    anisotropic,
    bidirectional,
    drawing,
    dynamics,
    heteroscedastic,
    n_and_sigma,
    posterior_collapse,
    posteriors,
    unknown_sigma,
)
from experiments.claims import regularised, wrong_models
from experiments.experiment import Experiment
from spiral_vae.config import axes, sources
from spiral_vae.config.values import with_values
from spiral_vae.exact import ground_truth, sequences
from spiral_vae.process import Spiral

RESULTS = {
    "basic_run": ["basic_run"],
    "sigma_series": ["sigma_series_post", "sigma_series_sweep"],
    "posterior_collapse": ["posterior_collapse_posteriors", "posterior_collapse_threshold"],
    "turns": ["turns"],
    "unknown_sigma": ["unknown_sigma"],
    "anisotropic": ["anisotropic"],
    "heteroscedastic": ["heteroscedastic", "heteroscedastic_sigmas"],
    "sigma_laws": ["sigma_laws"],
    "n_and_sigma": ["n_and_sigma"],
    "posteriors": ["posteriors", "posteriors_turns"],
    "amortisation": ["amortisation"],
    "gradients": ["gradients"],
    "curves": ["curves"],
    "ambiguity": ["ambiguity"],
    "dynamics": ["dynamics", "dynamics_missing"],
    "bidirectional": ["bidirectional"],
    "claims.signal_to_noise": ["signal_to_noise"],
    "claims.rate": ["rate"],
    "claims.regularised": ["regularised"],
    "claims.wrong_models": ["wrong_models"],
    "claims.width": ["width"],
}


def _check(name, folder):
    expected = {f"{part}.{kind}" for part in RESULTS[name] for kind in ("csv", "png", "svg")}
    assert {path.name for path in folder.iterdir()} == expected


@pytest.mark.parametrize("name", sorted(set(RESULTS) - {"basic_run"}))
def test_quick_size(name, monkeypatch, tmp_path):
    """In one process, as they have much code in common, which is traced and compiled once."""
    monkeypatch.setattr(sequences, "NUM_FRESH", 4)  # 40 take ten times as long
    short = name.rpartition(".")[2]
    function = getattr(importlib.import_module(f"experiments.{name}"), short)
    function(Experiment(short, tmp_path / "results", tmp_path / "runs", quick=True))
    _check(name, tmp_path / "results")


def test_an_experiment_is_a_command(environment, tmp_path):
    folders = [f"--folder={tmp_path / 'results'}", f"--runs={tmp_path / 'runs'}"]
    done = subprocess.run(
        [sys.executable, "-W", "error", "-m", "experiments.basic_run", "--quick", *folders],
        cwd=Path(__file__).parents[1],
        env=environment,
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stderr) == (0, "")
    _check("basic_run", tmp_path / "results")


WAYS = {
    "unknown_sigma": unknown_sigma.WAYS,
    "anisotropic": anisotropic.WAYS | anisotropic.MORE,
    "heteroscedastic": heteroscedastic.WAYS,
    "posterior_collapse": posterior_collapse.GEOMETRIES,
    "posteriors": posteriors.WAYS,
    "amortisation": amortisation.WAYS,
    "dynamics": dynamics.WAYS,
}


@pytest.mark.parametrize(("name", "way"), [(name, way) for name in WAYS for way in WAYS[name]])
def test_the_fields_of_every_way_are_sound_and_used(name, way):
    """The quick size tries the last ways only."""
    config = with_values(sources.load(name), WAYS[name][way])
    _, rows = axes.expand(config, config.sweep)
    assert len(rows) == config.num_seeds


CLAIMS = [
    *((regularised, way) for way in regularised.WAYS.values()),
    *(
        (wrong_models, curve | way)
        for curve in wrong_models.CURVES.values()
        for way in wrong_models.WAYS.values()
    ),
]


@pytest.mark.parametrize(("module", "way"), CLAIMS)
def test_the_fields_of_every_way_of_a_claim_are_sound_and_used(module, way):
    config = with_values(module.get_config(), way)
    _, rows = axes.expand(config, config.sweep)
    assert len(rows) == config.num_seeds


OF_PARTS = {name for name in RESULTS if name.startswith("claims.")}
NO_CONFIG = {"n_and_sigma", "ambiguity", "bidirectional"} | OF_PARTS


@pytest.mark.parametrize("name", [*sorted(set(RESULTS) - NO_CONFIG), "claims"])
def test_the_config_of_an_experiment_is_sound_on_its_own(name):
    config = sources.load(name)
    axes.expand(config, config.sweep)


def test_threshold_is_exact_on_the_law_of_linear_decoders():
    ratios = posterior_collapse.RATIOS
    kl = np.maximum(np.log(0.97 / ratios), 0)  # a threshold at 0.97 sigma_c
    np.testing.assert_allclose(posterior_collapse.threshold(ratios, kl), 0.97, rtol=1e-12)


def test_fisher_information_is_the_curvature_of_the_divergence():
    """KL(p_sigma || p_sigma') = I (ln sigma'/sigma)^2 / 2 + ..., here with its exact left side."""
    curve = Spiral(omega=8.8, rdot=2.5, noise_sigma=0.2, u_start=0.01, u_stop=1.0)
    truth = ground_truth.truth(curve)
    step = 1e-3
    both = []
    for sign in (-1, 1):
        other = dataclasses.replace(curve, noise_sigma=0.2 * np.exp(sign * step))
        nll = ground_truth.cross_entropy(truth, ground_truth.truth_density(other))
        both.append(nll.value - truth.entropy.value)
    curvature = (both[0] + both[1]) / step**2  # cubic terms cancel
    np.testing.assert_allclose(n_and_sigma.fisher_information(curve), curvature, rtol=1e-4)


def test_excess_is_paired_by_seed_within_each_part():
    rows = [
        {"noise": noise, "way": way, "seed": seed, "kl_to_truth": kl}
        for noise, way, seed, kl in (
            ("a", "x", 0, 1.0),
            ("a", "x", 1, 2.0),
            ("a", "y", 0, 4.0),
            ("a", "y", 1, 3.0),
            ("b", "x", 0, 5.0),
            ("b", "y", 0, 3.0),
        )
    ]
    found = drawing.with_excess(rows, by="way", within="noise")
    assert [row["kl_excess"] for row in found] == [0, 0, 3, 1, 2, 0]


def test_a_way_most_of_whose_lanes_failed_is_never_the_best():
    rows = [{"way": "x", "seed": 0, "kl_to_truth": 0.1}, {"way": "x", "seed": 1}]
    rows += [{"way": "y", "seed": seed, "kl_to_truth": 0.3} for seed in (0, 1)]
    found = drawing.with_excess(rows, by="way")
    np.testing.assert_allclose([row["kl_excess"] for row in found], [-0.2, np.nan, 0, 0])


def test_the_optimum_of_the_two_spirals_is_the_mean_over_all_that_could_have_been():
    clean, x = bidirectional.draw(np.random.default_rng(0), 5, stride=20)
    every = bidirectional.every_sequence(20)
    likely = stats.norm.logpdf(x[:, None], every, 0.3).sum(axis=(2, 3))
    weight = np.exp(likely - likely.max(axis=1, keepdims=True))
    weight /= weight.sum(axis=1, keepdims=True)
    found = bidirectional.optimum(x, 20)
    np.testing.assert_allclose(found, np.tensordot(weight, every, 1), atol=1e-9)
    assert bidirectional.rmse(found, clean) < 0.5 * bidirectional.rmse(x, clean)


def test_the_two_spirals_wind_either_way_and_are_both_on_the_curve_that_z_wanders_on():
    x, y = np.moveaxis(bidirectional.spirals() - [[[-5, 0]], [[5, 0]]], -1, 0)
    turned = np.diff(np.unwrap(np.arctan2(y, x)), axis=1)[:, 1:]  # the second begins at its centre
    pace = 6 * np.pi / 999
    np.testing.assert_allclose(turned, np.outer([-pace, pace], np.ones(998)), atol=1e-9)
    clean, _ = bidirectional.draw(np.random.default_rng(0), 10, stride=5)
    assert bidirectional.rmse(bidirectional.wandering(clean), clean) < 0.05
