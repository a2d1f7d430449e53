"""The standing results: stored rows, their table, and their bits."""

import numpy as np
import pytest

from spiral_vae.config.values import ConfigError
from spiral_vae.judge import standing, trial
from spiral_vae.judge.methods import METHODS
from spiral_vae.judge.problems import PROBLEMS


def test_a_problem_that_stands_has_a_row_for_every_method_and_seed():
    problems = {row["problem"] for row in standing.rows()}
    assert problems >= {"post", "post_unknown"}
    found = [(row["problem"], row["method"], row["seed"]) for row in standing.rows()]
    assert found == [
        (problem.name, method.name, seed)
        for problem, method in standing.cells()
        if problem.name in problems
        for seed in range(trial.SEEDS)
    ]


def test_rows_are_of_the_configs_that_are_now():
    digests = {(row["problem"], row["method"]): row["config_sha256"] for row in standing.rows()}
    for (problem, method), stored in digests.items():
        now = trial.digest(trial.config(PROBLEMS[problem], METHODS[method]))
        assert stored == now, f"{problem}/{method} is another one now: `make standing`"


def test_the_table_has_what_the_rows_have():
    table = standing.standing()
    assert table.sizes["seed"] == trial.SEEDS
    assert table.sizes["problem"] == len({row["problem"] for row in standing.rows()})
    for row in standing.rows()[::97]:
        place = {key: row[key] for key in ("problem", "method", "seed")}
        own = table.sel(place)
        assert str(own.params_sha256.values) == row["params_sha256"]
        np.testing.assert_array_equal(own.kl_to_truth, row.get("kl_to_truth", np.nan))
    assert np.isnan(table.kl_to_truth.sel({"problem": "post", "method": "geco"})).all()


def test_results_are_stored_of_problems_that_are_whole(tmp_path, monkeypatch):
    rows = [{"problem": "circle", "method": "elbo", "seed": 0, "kl_to_truth": 0.5}]
    monkeypatch.setattr(standing, "FOLDER", tmp_path / "results")
    monkeypatch.setattr(
        standing.trial, "kept", lambda path, config: rows if "circle" in str(path) else None
    )
    missing = standing.store(tmp_path)
    assert missing == [name for name in PROBLEMS if name != "circle"]
    (path,) = (tmp_path / "results").iterdir()
    text = path.read_text().splitlines()
    methods = [own.name for problem, own in standing.cells() if problem.name == "circle"]
    assert len(text) == 1 + len(methods)
    assert "config_sha256,version,jax,machine" in text[0]


def test_the_nearest_method_comes_first():
    medians = [np.median(trial.distances(own)) for own in standing.of(PROBLEMS["post"]).values()]
    assert medians == sorted(medians)


def test_a_cell_that_is_none_is_a_sentence(tmp_path):
    with pytest.raises(
        ConfigError, match="repeat: found 'post/nothing', must be one of .*post/elbo"
    ):
        standing.repeated(tmp_path, "post/nothing")


def test_bits_that_differ_are_counted(tmp_path, monkeypatch):
    """Of the cell that was asked for; what training it would give is made up."""
    stored = standing.of(PROBLEMS["post"])["elbo"]

    def run(problem, method, folder):
        assert (problem.name, method.name, folder) == ("post", "elbo", tmp_path / "post/elbo")
        return [stored[0] | {"params_sha256": "other"}, *stored[1:]]

    monkeypatch.setattr(standing.trial, "run", run)
    found = standing.repeated(tmp_path, "post/elbo")
    assert found == ("post/elbo", len(stored) - 1, len(stored))
