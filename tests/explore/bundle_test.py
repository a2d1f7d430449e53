"""What a page is made of: how much of the training it has room for, and what it calls the run."""

import base64

import pytest

from spiral_vae import base_config
from spiral_vae.config.axes import Axis
from spiral_vae.explore import bundle
from spiral_vae.runs import run
from tests.explore.kinds_test import SHORT


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
    """2 sigmas x 2 seeds with snapshots."""
    path = tmp_path_factory.mktemp("films") / "run"
    few = {"num_seeds": 2, "evaluate.snapshots": 40, "evaluate.gap_points": 0}
    config = base_config(SHORT | few | {"sweep": ("likelihood.sigma=0.1,0.2",)})
    run.train_and_evaluate(config, str(path), figures="none")
    return path


@pytest.mark.parametrize(
    ("room", "lanes", "frames"),
    [(5, [], None), (25, [0, 2], 12), (60, [0, 2], 30), (1000, [0, 2, 1, 3], None)],
)
def test_films_fill_the_room_and_no_more(workdir, monkeypatch, room, lanes, frames):
    """Those of the first seed first, all as long; none of less than ten frames."""
    params = bundle.bundle(workdir)["params"]
    size = len(base64.b64decode(params[0])) // 2  # in half precision
    monkeypatch.setattr(bundle, "_ROOM", (2 * len(params) + room) * size)
    films = bundle.bundle(workdir)["films"]
    assert [
        film["lane"] for film in films
    ] == lanes  # seeds 0, 1 of the one sigma, 0, 1 of the other
    lengths = [len(film["epochs"]) for film in films]
    assert sum(lengths) <= room
    assert frames is None or set(lengths) == {frames}
    assert all(film["epochs"][-1] == 300 for film in films)
    assert [len(base64.b64decode(film["params"])) for film in films] == [n * size for n in lengths]


def test_metrics_are_called_by_words_and_their_unit():
    columns = {"kl_to_truth": [0.1, 0.2], "spearman": [1.0, -1.0], "found": [True, False]}
    found = {one["name"]: one["label"] for one in bundle._metrics(columns)}
    assert found == {"kl_to_truth": "kl to truth, nats", "spearman": "spearman"}


@pytest.mark.parametrize(
    ("seeds", "sigmas", "wanted"),
    [
        ((3,), (), "one lane: seed 3"),
        ((0, 1), (), "2 lanes: 2 seeds"),
        ((0,), (0.1, 0.2), "2 lanes: 2 values of likelihood.sigma x seed 0"),
        ((0, 1, 2), (0.1, 0.2), "6 lanes: 2 values of likelihood.sigma x 3 seeds"),
    ],
)
def test_its_subtitle_counts_lanes_and_seeds(workdir, seeds, sigmas, wanted):
    swept = [Axis("likelihood.sigma", sigmas)] if sigmas else []
    rows = [{"seed": seed} for seed in seeds for _ in sigmas or (0.1,)]
    found = bundle._about(workdir, swept, rows, 300)
    assert found["title"] == "run"
    assert found["subtitle"].startswith(f"{wanted}, 300 epochs, 20")
