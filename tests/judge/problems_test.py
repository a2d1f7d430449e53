"""Named problems stay what they are, and files can be problems."""

import runpy
import sys

import numpy as np
import pytest

from spiral_vae.config import axes, values
from spiral_vae.config.values import ConfigError
from spiral_vae.judge import problems, reference, standing, trial
from spiral_vae.judge.methods import METHODS, Method, method
from spiral_vae.judge.problems import PROBLEMS
from tests.conftest import ROOT

ROSE = str(ROOT / "examples" / "rose.py")


@pytest.mark.parametrize("name", PROBLEMS)
def test_a_name_stays_with_its_density(name):
    found, known = problems.facts(PROBLEMS[name]), problems.known_facts()[name]
    assert found.keys() == known.keys()
    for fact, value in known.items():
        # The price is a search's; another processor's roundings may end it elsewhere by 1e-9.
        tolerance = 1e-7 if fact == "price" else 1e-10
        np.testing.assert_allclose(found[fact], value, rtol=tolerance, err_msg=fact)


def test_facts_stand_in_their_order():
    for name, own in problems.known_facts().items():
        assert own["entropy"] < own["gaussian"] <= own["collapsed"], name
        assert own["information"] > 0 and own["price"] > 0, name


def test_every_problem_has_the_same_steps():
    for problem in PROBLEMS.values():
        config = trial.config(problem, METHODS["elbo"])
        steps = -(-config.data.num_points // config.train.batch_size) * config.train.num_epochs
        assert (steps, config.train.batch_size) == (problems.STEPS, problems.BATCH), problem.name


def test_a_file_is_a_problem_with_its_data():
    rose = problems.problem(ROSE)
    config = trial.config(rose, METHODS["iwae_8"])
    assert (config.data.kind, config.objective.kind) == ("rose", "iwae")
    assert rose.knows_sigma and rose.name == "rose"


def test_a_file_is_a_method_without_its_data(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(
        "from spiral_vae import base_config\n\n\ndef get_config():\n"
        "    return base_config({'data.num_points': 50, 'train.num_epochs': 7, "
        "'objective.beta': 0.5})\n"
    )
    own = method(str(path))
    assert set(own.ignored) == {"data.num_points", "train.num_epochs"}
    config = trial.config(PROBLEMS["post"], own)
    assert (config.data.num_points, config.train.num_epochs) == (200, problems.STEPS)
    assert config.objective.beta == 0.5


def test_configs_of_all_standing_trials_can_run():
    for problem, way in standing.cells():
        config = values.settled(trial.config(problem, way))
        assert len(axes.expand(config, config.sweep)[1]) == trial.SEEDS


def test_a_method_of_sigma_suits_where_sigma_is_unknown():
    geco = METHODS["geco"]
    assert [trial.suits(PROBLEMS[name], geco) for name in ("post", "post_unknown")] == [False, True]


def test_what_a_method_says_must_be_used():
    own = Method("mine", "", {"optimizer.decay_factor": 0.1})
    with pytest.raises(ConfigError, match="nothing here uses it"):
        trial.config(PROBLEMS["post"], own)


@pytest.mark.parametrize("make", [problems.problem, method])
def test_a_wrong_name_is_a_sentence_with_all_names(make):
    with pytest.raises(ConfigError, match="found 'nothing', must be a file or one of .*[a-z], "):
        make("nothing")


def test_own_points_are_no_problem_for_the_judge(tmp_path):
    path = tmp_path / "mine.py"
    table = ROOT / "examples" / "penguins.csv"
    path.write_text(
        "from spiral_vae import base_config\n\n\ndef get_config():\n"
        f"    return base_config({{'data.kind': 'table', 'data.path': {str(table)!r}, "
        "'data.columns': 'bill_length_mm,bill_depth_mm'})\n"
    )
    with pytest.raises(ConfigError, match="no known truth"):
        problems.problem(str(path))


def test_the_page_is_what_make_reference_makes():
    assert (ROOT / "docs" / "problems.md").read_text() == reference.page(), "run `make reference`"


def test_the_command_writes_the_facts_and_the_page(tmp_path, monkeypatch):
    """With stored facts in the place of the computed ones, which take a minute."""
    stored, known = problems.FACTS.read_bytes(), problems.known_facts()
    monkeypatch.setattr(problems, "facts", lambda own: known[own.name])
    monkeypatch.setattr(problems, "FACTS", tmp_path / "facts.csv")
    monkeypatch.setattr(sys, "argv", ["reference", str(tmp_path)])
    runpy.run_path(reference.__file__, run_name="__main__")
    assert (tmp_path / "facts.csv").read_bytes() == stored
    assert (tmp_path / "problems.md").read_text() == (ROOT / "docs" / "problems.md").read_text()
