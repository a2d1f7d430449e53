"""What can a one-dimensional latent do with curves that people know?

400 points of each, noise 0.2, sigma known, maximum likelihood with a sigma that falls. A latent on
a line has to cut a closed curve open and to bridge the gaps between pieces; what that costs is the
distance to the truth.

    python -m experiments.curves

Besides, log p = ELBO + KL(q || posterior) is looked at in each trained lane, with the KL by brute
force: posteriors of folded curves are wide, and decoders wind within them.
"""

import numpy as np

import spiral_vae
from experiments import drawing
from experiments.experiment import Experiment, main
from spiral_vae.configs import curves as config
from spiral_vae.exact import ground_truth, inference
from spiral_vae.exact.mixture import gauss_legendre
from spiral_vae.maths.gaussian import log_prior

_METRICS = ("kl_to_truth", "order_of_curve", "order_of_decoder")
_PANELS = 2_000  # of 16 nodes each, over 18 standard deviations of a q
_NUM_POINTS = 8  # of each lane


def curves(experiment: Experiment) -> None:
    outcome = experiment.sweep("sweep", config.get_config())
    lanes = spiral_vae.open(outcome.workdir).lanes
    rows = [row | {"identity": broken(lane)} for row, lane in zip(outcome.rows, lanes, strict=True)]
    experiment.save(drawing.intervals(rows, _METRICS, by="data.kind"), rows)
    for kind in dict.fromkeys(row["data.kind"] for row in rows):
        own = [row for row in rows if row["data.kind"] == kind]
        found = np.mean([row.get("found", False) for row in own])
        worst = max(row["identity"] for row in own)
        print(f"{kind}: found {found:.0%}, |log p - ELBO - KL| <= {worst:.1e}")
    experiment.tell(rows, _METRICS, by=("data.kind",))


def broken(lane: spiral_vae.Lane) -> float:
    """Returns the largest |log p(x) - ELBO(x) - KL(q || p(z|x))| of some points, nats."""
    x = lane.x[np.linspace(0, len(lane.x) - 1, _NUM_POINTS).astype(int)]
    q, observe = lane.encode(x), lane.model.observe
    density = ground_truth.density_around(x, observe, 1)
    log_evidence, _ = density.log_density(x)
    bound = inference.elbo(x, q, observe, density)
    worst = 0.0
    for i in range(len(x)):
        z, weight = gauss_legendre(q.mean[i] + q.scale[i] * np.linspace(-9, 9, _PANELS + 1))
        log_q = q[i : i + 1].log_prob(z[:, None])[0]
        log_p, _ = inference.log_likelihood(observe, x[i : i + 1], z[None, :, None])
        log_posterior = log_p[0] + log_prior(z[None]) - log_evidence[i]
        kl = np.sum(weight * np.exp(log_q) * (log_q - log_posterior))
        worst = max(worst, abs(log_evidence[i] - bound.elbo[i] - kl))
    return float(worst)


if __name__ == "__main__":
    main(curves)
