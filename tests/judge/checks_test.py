"""What the judge says of a file before it trains anything."""

import jax.numpy as jnp
import pytest

from spiral_vae.config.values import ConfigError
from spiral_vae.judge import checks as checks_lib
from spiral_vae.judge import trial
from spiral_vae.judge.checks import checks
from spiral_vae.judge.methods import METHODS, method
from spiral_vae.judge.problems import PROBLEMS
from tests.conftest import ROOT
from tests.judge import broken

POST, UNKNOWN = PROBLEMS["post"], PROBLEMS["post_unknown"]


def found(own, problem=POST):
    return list(checks(trial.config(problem, own)))


def of_file(text, tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(text)
    return found(method(str(path)))


@pytest.mark.parametrize("fault", broken.FILES)
def test_a_broken_file_is_stopped_by_the_check_that_names_its_fault(fault, tmp_path):
    text, name, words = broken.FILES[fault]
    *before, last = of_file(text, tmp_path)
    assert all(finding.sound for finding in before)
    assert (last.sound, last.name) == (False, name), last
    assert words in last.sentence


def test_a_file_without_a_method_is_a_sentence(tmp_path):
    with pytest.raises(
        ConfigError, match=r"mine.py, line 8: objective 'mine' \(Mine\): lacks terms"
    ):
        of_file(broken.MISSING, tmp_path)


@pytest.mark.parametrize("part", broken.SOUND)
def test_the_same_file_without_the_fault_is_sound(part, tmp_path):
    assert all(finding.sound for finding in of_file(broken.SOUND[part], tmp_path))


def test_a_bound_that_stops_a_gradient_is_biased(tmp_path):
    text = broken.objective("reconstruction + jax.lax.stop_gradient(draws.kl)")
    *_, last = of_file(text.replace("import jax.numpy", "import jax\nimport jax.numpy"), tmp_path)
    assert (last.sound, last.name) == (False, "estimator")
    assert "the gradient is biased" in last.sentence


@pytest.mark.parametrize(
    ("slope", "bias", "sound"),
    [(0.01, 5e-6, True), (0.01, 2e-5, False), (100.0, 5e-4, True), (100.0, 2e-3, False)],
)
def test_rounding_is_no_bias(slope, bias, sound, monkeypatch):
    """It is 1e-5 of the slope, or of 1 if that is less; the slopes are made up, without spread."""

    def slopes(networks, state, batch, eps, lane):
        return jnp.full(8, slope + bias), jnp.full(8, slope)

    monkeypatch.setattr(checks_lib, "_slopes", slopes)
    findings = checks(trial.config(POST, METHODS["elbo"]))
    assert next(one for one in findings if one.name == "estimator").sound == sound


@pytest.mark.parametrize("name", ["laplace", "logistic", "annealed"])
def test_an_example_is_sound(name):
    findings = found(method(str(ROOT / "examples" / f"{name}.py")))
    assert all(finding.sound for finding in findings), findings[-1]
    assert "all methods" in findings[1].sentence


# What else is built in has the kinds of two of these.
@pytest.mark.parametrize(
    "name", sorted(METHODS.keys() - {"elbo_stl", "iwae_8", "evidence", "evidence_anneal"})
)
def test_a_built_in_method_is_sound(name):
    findings = found(METHODS[name], UNKNOWN)
    assert all(finding.sound for finding in findings), findings[-1]
