"""The standing results: stored rows, their table, and their bits."""

import numpy as np
import pytest

from spiral_vae.config.values import ConfigError
from spiral_vae.judge import standing, trial
from spiral_vae.judge.methods import METHODS
from spiral_vae.judge.problems import PROBLEMS


def test_there_is_a_row_for_every_problem_method_and_seed():
    found = [(row["problem"], row["method"], row["seed"]) for row in standing.rows()]
    wanted = [
        (problem.name, method.name, seed)
        for problem, method in standing.cells()
        for seed in range(trial.SEEDS)
    ]
    assert found == wanted


def test_rows_are_of_the_configs_that_are_now():
    digests = {(row["problem"], row["method"]): row["config_sha256"] for row in standing.rows()}
    for problem, method in standing.cells():
        now = trial.digest(trial.config(problem, method))
        assert digests[problem.name, method.name] == now, (problem.name, method.name)


def test_the_table_has_what_the_rows_have():
    table = standing.standing()
    assert table.sizes == {"problem": len(PROBLEMS), "method": len(METHODS), "seed": trial.SEEDS}
    for row in standing.rows()[::97]:
        place = {key: row[key] for key in ("problem", "method", "seed")}
        own = table.sel(place)
        assert str(own.params_sha256.values) == row["params_sha256"]
        np.testing.assert_array_equal(own.kl_to_truth, row.get("kl_to_truth", np.nan))
    assert np.isnan(table.kl_to_truth.sel(problem="post", method="geco")).all()


def test_the_nearest_method_comes_first():
    medians = [np.median(trial.distances(own)) for own in standing.of(PROBLEMS["post"]).values()]
    assert medians == sorted(medians)


def test_a_cell_that_is_none_is_a_sentence(tmp_path):
    with pytest.raises(
        ConfigError, match="repeat: found 'post/nothing', must be one of .*post/elbo"
    ):
        standing.repeated(tmp_path, "post/nothing")
