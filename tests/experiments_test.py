"""Each experiment runs at its quick size and leaves its figure and table."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from experiments import posterior_collapse, turns

RESULTS = {
    "basic_run": ["basic_run"],
    "sigma_series": ["sigma_series_post", "sigma_series_sweep"],
    "posterior_collapse": ["posterior_collapse_posteriors", "posterior_collapse_threshold"],
    "turns": ["turns"],
}


@pytest.mark.parametrize("name", RESULTS)
def test_quick_size(name, environment, tmp_path):
    command = [sys.executable, "-W", "error", "-m", f"experiments.{name}", "--quick"]
    folders = [f"--folder={tmp_path / 'results'}", f"--runs={tmp_path / 'runs'}"]
    root = Path(__file__).parents[1]
    done = subprocess.run(
        [*command, *folders], cwd=root, env=environment, capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (0, "")
    found = {path.name for path in (tmp_path / "results").iterdir()}
    expected = {f"{part}.{kind}" for part in RESULTS[name] for kind in ("csv", "png", "svg")}
    assert found == expected


def test_threshold_is_exact_on_the_law_of_linear_decoders():
    ratios = posterior_collapse.RATIOS
    kl = np.maximum(np.log(0.97 / ratios), 0)  # a threshold at 0.97 sigma_c
    np.testing.assert_allclose(posterior_collapse.threshold(ratios, kl), 0.97, rtol=1e-12)


def test_second_mode_is_the_smaller_bump():
    t = np.linspace(0, 1, 2001)
    density = 0.7 * np.exp(-0.5 * ((t - 0.3) / 0.03) ** 2) + 0.3 * np.exp(
        -0.5 * ((t - 0.8) / 0.03) ** 2
    )
    weight = np.full(len(t), 1 / density.sum())
    np.testing.assert_allclose(turns._second_mode(density, weight), 0.3, rtol=1e-6)
