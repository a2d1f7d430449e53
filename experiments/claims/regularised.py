"""Does a restricted encoder make a better decoder?

Claim (Shu et al. 2018, https://arxiv.org/abs/1805.08913): where the generative model overfits, a
regularised encoder raises the likelihood of held-out points and lowers the gap at them. Their ways
are noise on the encoder's input and a smaller or smoother encoder.

    python -m experiments.claims.regularised

The post's spiral, sigma known, at 200 points and at 50; 16 seeds, all ways on the same data and
initialisation of the decoder. Noise is in units of x, where the noise of the data is 0.2. On the
other side are a larger encoder, and a mixture by sticking the landing, which restricts q less.
Held-out likelihood is -E log p under the truth, by quadrature. Told are means and standard errors
over seeds of the difference from the plain way, seed by seed; the claim is a difference below 0.
"""

from pathlib import Path
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from experiments.claims import drawing
from experiments.experiment import Experiment, main
from spiral_vae.config import sources

KIND = Path(__file__).with_name("denoising.py")
PLAIN = "plain, 32 units"
WAYS: dict[str, dict[str, Any]] = {
    PLAIN: {},
    **{
        f"noise {noise} on the input": {
            "objective.kind": "denoising",
            "objective.input_noise": noise,
        }
        for noise in (0.05, 0.1, 0.2)
    },
    "8 units": {"model.encoder.hidden_dim": 8},
    "128 units": {"model.encoder.hidden_dim": 128},
    "mixture of 4, STL": {"posterior.kind": "mixture", "objective.estimator": "stl"},
}
NUM_POINTS = (200, 50)
METRICS = ("nll", "inference_gap_new")


def get_config() -> ConfigDict:
    """Returns the config that the ways differ from, with the fields of the kind of its own."""
    sources.load_file(KIND)
    return sources.load("claims:regularised")


def paired(rows: list[dict[str, Any]], metric: str, plain: str = PLAIN) -> tuple[float, float, int]:
    """Returns the mean difference of a metric from the plain way over seeds.

    Args:
      rows: of the way and of the plain one, of one setting.
      metric: its column.
      plain: name of the plain way.

    Returns:
      The mean, its standard error, and in how many seeds the difference is below 0.
    """
    of_plain = {row["seed"]: row[metric] for row in rows if row["way"] == plain}
    found = np.array([r[metric] - of_plain[r["seed"]] for r in rows if r["way"] != plain])
    return float(np.mean(found)), _error(found), int(np.sum(found < 0))


def _error(values: np.ndarray) -> float:
    """Returns the standard error of the mean; nan of a single value."""
    return float(np.std(values, ddof=1) / np.sqrt(len(values))) if len(values) > 1 else np.nan


def regularised(experiment: Experiment) -> None:
    rows: list[dict[str, Any]] = []
    for num in NUM_POINTS[-1:] if experiment.quick else NUM_POINTS:
        for way, own in list(WAYS.items())[: 2 if experiment.quick else None]:
            label = f"{num} {way}".replace(",", "").replace(" ", "_")
            overrides = {"data.num_points": num, "train.batch_size": num, **own}
            found = experiment.sweep(label, get_config(), overrides).rows
            rows += [{"num_points": num, "way": way, **row} for row in found]
    table = differences(rows)
    experiment.save(drawing.regularised(table), rows)
    for row in table:
        cells = [
            f"{metric} {row[metric]:+.4f} +- {row[f'{metric}_error']:.4f} (lower in "
            f"{row[f'{metric}_lower']} of {row['num_seeds']})"
            for metric in METRICS
        ]
        print(
            f"{row['num_points']} points, {row['way']}: {'; '.join(cells)}; overfit gap "
            f"{row['overfit_gap']:.3f} +- {row['overfit_gap_error']:.3f}, kl to truth, median, "
            f"{row['kl_to_truth']:.4f}"
        )


def differences(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Returns a row for each setting and way: what `paired` says of each metric, and more."""
    table = []
    for num, way in dict.fromkeys((row["num_points"], row["way"]) for row in rows):
        own = [row for row in rows if row["num_points"] == num and row["way"] in (way, PLAIN)]
        of_way = [row for row in own if row["way"] == way]
        line = {"num_points": num, "way": way, "num_seeds": len(of_way)}
        for metric in METRICS:
            found = (0.0, 0.0, 0) if way == PLAIN else paired(own, metric)
            names = (metric, f"{metric}_error", f"{metric}_lower")
            line |= dict(zip(names, found, strict=True))
        gap = np.array([row["overfit_gap"] for row in of_way])
        line["overfit_gap"] = float(np.mean(gap))
        line["overfit_gap_error"] = _error(gap)
        line["kl_to_truth"] = float(np.median([row["kl_to_truth"] for row in of_way]))
        table.append(line)
    return table


if __name__ == "__main__":
    main(regularised)
