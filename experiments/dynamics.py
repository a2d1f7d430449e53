"""What do dynamics of the latent buy, and which part of the method buys it?

Sequences along one, two and four turns, a = 0.995, the time constant unknown, and sigma but in the
last way. Claim: the start from the data and the evidence of whole sequences are nearest to the
truth together; points alone and dynamics in the prior alone fold from two turns on.

    python -m experiments.dynamics

Besides, for two turns and the whole method: how much worse than the truth a model forecasts, and
what becomes of it as points are missing.
"""

from typing import Any

from experiments import drawing
from experiments.experiment import Experiment, main
from spiral_vae.configs import dynamics as config

TURNS = (1, 2, 4)
NUM_SEEDS = 8
_ELBO = {
    "objective.kind": "elbo",
    "objective.num_samples": 1,
    "objective.spacing": "mass",
    "likelihood.sigma": 0.5,
}
_NO_START = {"start.kind": "none", "start.weight": 3.0}  # 3: a default, as nothing uses it
WAYS: dict[str, dict[str, Any]] = {
    "single points": {
        **_ELBO,
        **_NO_START,
        "dynamics.kind": "none",
        "dynamics.start": 0.9,
        "posterior.kind": "gaussian",
    },
    "mean field": {**_ELBO, **_NO_START, "posterior.kind": "gaussian"},
    "structured": {**_ELBO, **_NO_START},
    "structured, start": _ELBO,
    "evidence": _NO_START,
    "evidence, start": {},
    "evidence, start, sigma known": {
        "likelihood.kind": "fixed",
        "likelihood.sigma": 0.2,
        "likelihood.learning_rate": 1e-3,  # the default, as nothing learns it
        "likelihood.anneal": 0.7,
    },
}
_METRICS = ("kl_rate_to_truth", "order_of_path", "tau_ratio")
_MISSING = (0.0, 0.25, 0.5)


def dynamics(experiment: Experiment) -> None:
    rows = []
    ways = list(WAYS)[-2 if experiment.quick else 0 :]
    for turns in TURNS[: 1 if experiment.quick else None]:
        for way in ways:
            overrides = {"num_seeds": NUM_SEEDS} | WAYS[way]
            label = f"{turns} {way}".replace(", ", " ").replace(" ", "_")
            found = experiment.sweep(label, config.get_config(str(turns)), overrides).rows
            curve = f"{turns} turn" + "s" * (turns > 1)
            rows += [row | {"turns": turns, "curve": curve, "way": way} for row in found]
    experiment.save(drawing.intervals(rows, _METRICS, by="way", facet="curve"), rows)
    experiment.tell(rows, (*_METRICS, "sigma_ratio", "gap_rate"), by=("turns", "way"))
    for turns, way in dict.fromkeys((row["turns"], row["way"]) for row in rows):
        own = [row for row in rows if (row["turns"], row["way"]) == (turns, way)]
        print(f"{turns} turns, {way}: {sum(row.get('path_found', 0) for row in own)} of {len(own)}")
    lacking = experiment.sweep(
        "missing",
        config.get_config("2"),
        {
            "num_seeds": NUM_SEEDS,
            "sweep": (f"data.missing={','.join(map(str, _MISSING))}",),
        },
    ).rows
    experiment.save(drawing.forecasts(lacking), lacking, "missing")
    metrics = ("kl_rate_to_truth", "order_of_path", "imputation_excess", "forecast_excess_1")
    experiment.tell(lacking, metrics, by=("data.missing",))


if __name__ == "__main__":
    main(dynamics)
