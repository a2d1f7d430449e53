"""What does a wrong decoder sigma do?

Claim (after the post): far below the noise the model overfits, near it it recovers the spiral, far
above it the posterior collapses. The three runs of the post are drawn for one seed; a sweep over 25
sigmas from 0.05 to 12 times the noise with 16 seeds each says where one regime becomes the other.

    python -m experiments.sigma_series
"""

from experiments import drawing
from experiments.experiment import Experiment, main
from spiral_vae.configs import sigma_series as config
from spiral_vae.exact import ground_truth
from spiral_vae.runs.load import load

_METRICS = ("kl_to_truth", "nll", "kl_to_prior", "inference_gap", "spearman")


def sigma_series(experiment: Experiment) -> None:
    post = experiment.sweep("post", config.get_config("post"))
    models = {
        f"$\\sigma$ = {row['likelihood.sigma']:g}: {row['verdict']}": load(
            post.workdir, row["lane"]
        )
        for row in post.rows
    }
    experiment.save(drawing.models(models), post.rows, "post")

    rows = experiment.sweep("sweep", config.get_config("sweep")).rows
    truth = ground_truth.truth(load(post.workdir).curve)
    figure = drawing.bands(
        rows,
        x="sigma_ratio",
        label=r"$\sigma$ / noise sigma",
        metrics=_METRICS,
        marks={
            "right": 1.0,
            r"$\sqrt{\lambda_1}$": truth.eigenvalues[0] ** 0.5 / truth.noise_sigma,
        },
    )
    experiment.save(figure, rows, "sweep")


if __name__ == "__main__":
    main(sigma_series)
