"""Pages of all kinds of runs: each shows what it can, and says what it can't."""

import csv
import types

import numpy as np
import pytest

from spiral_vae import base_config
from spiral_vae.exact import ground_truth, inference
from spiral_vae.explore import page as explorer
from spiral_vae.runs import run
from tests.explore import browser as browser_lib

SHORT = {
    "data.num_points": 40,
    "train.batch_size": 20,
    "train.num_epochs": 300,
    "train.compiled": "quickly",
    "evaluate.every": 0.0,
    "evaluate.snapshots": 0,
    "model.encoder.hidden_dim": 8,
    "model.decoder.hidden_dim": 8,
    "optimizer.encoder_learning_rate": 1e-2,
    "optimizer.decoder_learning_rate": 1e-2,
}
PIECES = {
    "data.kind": "two_moons",
    "likelihood.kind": "full_covariance",
    "posterior.kind": "mixture",
    "model.encoder.hidden_layers": 2,
    "model.encoder.fourier_features": 3,
}
HEAVY_TAILS = {
    "likelihood.kind": "heteroscedastic",
    "likelihood.stabiliser": "student_t",
    "posterior.kind": "spline",
}
SOLID = {"data.kind": "helix", "likelihood.kind": "per_dimension"}


@pytest.fixture(scope="module")
def browser():
    with browser_lib.started() as found:
        yield found


def _judge(model, gap_points):
    """Returns the metrics that these tests look at, as `evaluate` finds them."""
    del gap_points
    density = ground_truth.model_density(model.observe, model.posteriors(model.x).latent_dim)
    bound = inference.elbo(model.x, model.posteriors(model.x), model.observe)
    evidence = density.log_density(model.x)[0]
    metrics = {"elbo": np.mean(bound.elbo), "train_log_evidence": np.mean(evidence)}
    metrics |= {"inference_gap": np.mean(evidence - bound.elbo), "kl_to_prior": np.mean(bound.kl)}
    if model.curve is not None and model.curve.dim == 2:
        truth = ground_truth.truth(model.curve)
        nll = ground_truth.cross_entropy(truth, density).value
        metrics["kl_to_truth"] = nll - truth.entropy.value
    return types.SimpleNamespace(metrics=metrics | {"collapsed": False})


@pytest.fixture(autouse=True)
def _few_metrics(monkeypatch):
    """All metrics would take most of the time."""
    monkeypatch.setattr(run, "judge", _judge)


def _written(tmp_path, **values):
    """Returns the page of a short run and its rows of summary.csv."""
    workdir = tmp_path / "run"
    run.train_and_evaluate(base_config(SHORT | values), str(workdir), figures="none")
    with open(workdir / "summary.csv", newline="") as file:
        return explorer.write(workdir), list(csv.DictReader(file))


@pytest.mark.parametrize("values", [PIECES, HEAVY_TAILS, SOLID], ids=["pieces", "tails", "solid"])
def test_its_own_gap_is_that_of_summary_csv(browser, tmp_path, values):
    path, (row,) = _written(tmp_path, **values)
    with browser_lib.opened(browser, path) as page:
        gap, evidence = page.evaluate(
            "(() => { const {model, data, nodes} = shown, n = data.order.length; let sum = 0; "
            "for (let i = 0; i < n; i++) sum += logDensity(nodes, "
            "data.x.subarray(i * data.dim, (i + 1) * data.dim)); "
            "return [meanGap(model, nodes, data.x), sum / n]; })()"
        )
        assert evidence == pytest.approx(float(row["train_log_evidence"]), abs=1e-7)
        assert gap == pytest.approx(float(row["inference_gap"]), abs=1e-6)
        if values is not SOLID:
            kl = page.evaluate("klToTruth(truths[0].points(7), shown.nodes)")
            assert kl == pytest.approx(float(row["kl_to_truth"]), rel=0.02)
        shaded = page.evaluate(
            "panels.data.canvas.getContext('2d').getImageData(0, 0, 160, 160).data.some(v => v)"
        )
        assert shaded == (values is not SOLID)
        assert ("without density" in page.inner_text("#notes")) == (values is SOLID)


def test_shading_is_the_density(browser, tmp_path):
    """Of noise with directions, against the same density point by point."""
    path, _ = _written(tmp_path, **PIECES)
    with browser_lib.opened(browser, path) as page:
        found, wanted = page.evaluate(
            "(() => { const size = 80, field = new Float64Array(size * size), out = []; "
            "shade(shown.nodes, -3, 0.075, size, field); "
            "for (let i = 0; i < size * size; i++) out.push(Math.exp(logDensity(shown.nodes, "
            "[-3 + 0.075 * (i % size), -3 + 0.075 * Math.floor(i / size)]))); "
            "return [[...field], out]; })()"
        )
    np.testing.assert_allclose(found, wanted, atol=0.06 * np.max(wanted))


def test_points_without_a_truth_have_no_panels_of_it(browser, tmp_path):
    points = np.random.default_rng(0).normal(size=(60, 2))
    np.save(tmp_path / "points.npy", points)
    values = {"data.kind": "table", "data.path": str(tmp_path / "points.npy")}
    path, (row,) = _written(tmp_path, **values)
    with browser_lib.opened(browser, path) as page:
        assert page.locator(".ofTruth:visible").count() == 0
        names = page.eval_on_selector_all("#metric option", "all => all.map(o => o.value)")
        assert "kl_to_truth" not in names and "inference_gap" in names
        gap = page.evaluate("meanGap(shown.model, shown.nodes, shown.data.x)")
        assert gap == pytest.approx(float(row["inference_gap"]), abs=1e-9)
        page.click("#live summary")
        page.click("#go")
        browser_lib.wait(page, "live.epoch > 10 && live.gap > 0")


def test_what_it_cannot_show_is_said(browser, tmp_path):
    path, _ = _written(
        tmp_path, **{"model.latent_dim": 2, "train.num_epochs": 20, "train.log_every": 20}
    )
    with browser_lib.opened(browser, path) as page:
        notes = page.inner_text("#notes")
        assert "With two latents density, latent and posterior are not shown." in notes
        assert "no snapshots" in notes
        assert page.locator("#cards div").count() == 5
