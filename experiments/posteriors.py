"""Which posterior and which gradient: in joint training, and against a decoder that is exact.

Claim: a mixture of Gaussians, trained by sticking the landing, costs the bound next to nothing,
while a Gaussian costs tenths of a nat at points that it has not seen. The price of a Gaussian grows
with the number of turns, as exact posteriors get several modes; a mixture does not pay it.

Found: with sigma known or learned it is so, and the decoder gains as well. Importance weights give
as good a decoder as a mixture, with a worse encoder. A spline can make a second mode only by a
bridge of mass to it, and its best member is seldom found from four turns on; jointly trained it
folds many seeds.

    python -m experiments.posteriors

Joint training: 16 seeds, medians and 10-90 %, all ways on the same data, initialisation and noise.
The exact decoder is that of the true curve. Of each of 200 points (25 for the spline) the best
member of a family is found; and an encoder (64 random Fourier features, 2 x 128 units) is trained
on draws of the model, the first half of the steps by -log q(z|x), then by the bound. It is judged
on the same points, also after each q has been refined by ten steps of Newton's method.
"""

import dataclasses
import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.scipy.special import log_ndtr

from experiments import drawing
from experiments.experiment import Experiment, main
from spiral_vae import numerics
from spiral_vae.configs import posteriors as config
from spiral_vae.exact import best as best_lib
from spiral_vae.exact import ground_truth, inference, mixture
from spiral_vae.exact.inference import Posteriors
from spiral_vae.maths import gaussian, observation
from spiral_vae.model.posterior import Gaussian, Heads, Mixture, Posterior, Spline
from spiral_vae.process import Spiral

_MIXTURE = {"posterior.kind": "mixture"}
_IWAE = {"objective.kind": "iwae", "objective.num_samples": 8}
WAYS: dict[str, dict[str, Any]] = {
    "Gaussian": {},
    "Gaussian, STL": {"objective.estimator": "stl"},
    "mixture of 4": _MIXTURE,
    "mixture of 4, STL": {**_MIXTURE, "objective.estimator": "stl"},
    "mixture of 4, IWAE-2": {**_MIXTURE, **_IWAE, "objective.num_samples": 2},
    "spline, STL": {"posterior.kind": "spline", "objective.estimator": "stl"},
    "IWAE-8": _IWAE,
    "IWAE-8, DReG": {**_IWAE, "objective.estimator": "dreg"},
}
FAMILIES: dict[str, Posterior] = {
    "Gaussian": Gaussian(),
    "mixture of 2": Mixture(num_components=2),
    "mixture of 4": Mixture(),
    "spline": Spline(),
}
TURNS = (1, 2, 4, 6, 8)
NUM_POINTS = 200
SPLINE_POINTS = 25  # whose best members take long
STEPS = 20_000  # of the encoder of the exact decoder
BATCH = 256
REFINED = 10  # steps of Newton's method after the encoder


@dataclasses.dataclass(frozen=True)
class Exact:
    """A spiral's exact decoder and points of it."""

    curve: Spiral
    x: np.ndarray  # [N, 2]
    z: np.ndarray  # that made them, [N, 1]

    @functools.cached_property
    def observe(self) -> observation.Observe:
        return ground_truth.true_decoder(self.curve)

    @functools.cached_property
    def density(self) -> ground_truth.Density:
        return ground_truth.model_density(self.observe, 1, reach=2.0)

    @functools.cached_property
    def log_evidence(self) -> np.ndarray:
        return self.density.log_density(self.x)[0]

    def gap(self, q: Posteriors) -> np.ndarray:
        """Returns the inference gap of each point, [N], nats."""
        return self.log_evidence - inference.elbo(self.x, q, self.observe, self.density).elbo

    def best(self, family: Posterior) -> best_lib.Best:
        """Returns the best members found of a family."""
        narrow = inference.gaussians(self.z, np.full_like(self.z, -4.0))
        gaussians = best_lib.best_gaussian(self.x, narrow, self.observe, self.density)
        if family.gaussian:
            return gaussians
        zeros = {name: np.zeros((len(self.x), size)) for name, size in family.heads(1).items()}
        fresh = Posteriors(family, zeros)
        return best_lib.best_member(self.x, fresh, self.observe, self.density, gaussians)


def exact(turns: int, num_points: int) -> Exact:
    """Returns draws of a spiral of so many turns."""
    curve = Spiral(omega=2 * math.pi * turns, rdot=2.5, noise_sigma=0.2, u_start=0.0, u_stop=1.0)
    rng = np.random.default_rng(0)
    z = rng.standard_normal((num_points, 1))
    return Exact(curve, observation.draw(rng, ground_truth.true_decoder(curve)(z)), z)


def amortised(problem: Exact, turns: int, family: Posterior, steps: int) -> Posteriors:
    """Returns q(z|x) of the problem's points by an encoder trained for the exact decoder."""
    curve = jax.tree.map(jnp.float32, problem.curve)
    key_net, key_w, key_c, key = jax.random.split(jax.random.key(0), 4)
    features = (
        jax.random.normal(key_w, (64, 2)) * (math.pi * turns / 2.5),
        2 * math.pi * jax.random.uniform(key_c, (64,)),
    )
    sizes = family.heads(1)
    layers = [2 + 128, 128, 128, sum(sizes.values())]
    schedule = optax.cosine_decay_schedule(2e-3, steps)
    optimizer = optax.chain(optax.clip_by_global_norm(100.0), optax.adam(schedule))

    def encode(params: list, x: jax.Array) -> Heads:
        """Returns heads for x [2, N]."""
        waves = features[0] @ x + features[1][:, None]
        out = jnp.concatenate([x / 2.5, jnp.sin(waves), jnp.cos(waves)])
        for kernel, bias in params[:-1]:
            out = jnp.tanh(kernel @ out + bias[:, None])
        out = params[-1][0] @ out + params[-1][1][:, None]
        ends = np.cumsum(list(sizes.values()))[:-1]
        return dict(zip(sizes, jnp.split(out, ends), strict=True))

    def log_likelihood(x: jax.Array, z: jax.Array) -> jax.Array:
        """Returns log p(x|z), [K, N], for x [2, N], z [1, K, N]."""
        mean = decode(z)
        square = jnp.sum((x[:, None] - mean) ** 2, axis=0) / curve.noise_sigma**2
        return -0.5 * square - 2 * jnp.log(curve.noise_sigma) - gaussian.LOG_2PI

    def decode(z: jax.Array) -> jax.Array:
        """Returns the points of z [1, ...], [2, ...]."""
        t = jnp.exp(0.5 * log_ndtr(z[0]))  # sqrt(u) of all u in [0, 1], with a gradient at 0
        return jnp.moveaxis(jax.vmap(curve.point)(t.reshape(-1)), 0, 1).reshape(2, *t.shape)

    def loss(params: list, key: jax.Array, progress: jax.Array) -> jax.Array:
        key_z, key_x, key_eps = jax.random.split(key, 3)
        z = jax.random.normal(key_z, (1, BATCH))
        x = decode(z) + curve.noise_sigma * jax.random.normal(key_x, (2, BATCH))
        heads = encode(params, x)

        def asleep() -> jax.Array:
            return -jnp.mean(family.log_prob(heads, z[:, None]))

        def awake() -> jax.Array:
            eps = jax.random.normal(key_eps, (1, max(4, family.strata), BATCH))
            drawn = family.sample(heads, eps)
            terms = log_likelihood(x, drawn) + family.path_log_ratio(heads, drawn, eps)
            log_mass = family.log_mass(heads)
            if log_mass is None:
                return -jnp.mean(terms)
            return -jnp.mean(jnp.sum(jnp.exp(log_mass) * terms, axis=0))

        return jax.lax.cond(progress < 0.5, asleep, awake)

    def step(carry: Any, number: jax.Array) -> tuple[Any, None]:
        params, state = carry
        grads = jax.grad(loss)(params, jax.random.fold_in(key, number), number / steps)
        updates, state = optimizer.update(grads, state)
        return (optax.apply_updates(params, updates), state), None

    @jax.jit
    def train(params: list) -> list:
        return jax.lax.scan(step, (params, optimizer.init(params)), jnp.arange(steps))[0][0]

    params = []
    for own, before, after in zip(jax.random.split(key_net, 3), layers, layers[1:], strict=False):
        kernel, bias = jax.random.split(own)
        bound = before**-0.5
        params.append(
            (
                jax.random.uniform(kernel, (after, before), minval=-bound, maxval=bound),
                jax.random.uniform(bias, (after,), minval=-bound, maxval=bound),
            )
        )
    with numerics.single():
        heads = encode(train(params), jnp.asarray(problem.x.T, jnp.float32))
    return Posteriors(family, {name: np.asarray(head.T, float) for name, head in heads.items()})


def of_exact_decoder(turns: int, name: str, num_points: int, steps: int) -> dict[str, Any]:
    """Returns the gaps of a family at a number of turns: of the best members, of an encoder."""
    family = FAMILIES[name]
    with numerics.double():
        problem = exact(turns, num_points)
        row = {"turns": turns, "family": name}
        row["best"] = float(np.mean(problem.log_evidence - problem.best(family).elbo))
    if name in ("Gaussian", "mixture of 4"):
        q = amortised(problem, turns, family, steps)
        with numerics.double():
            gaps = problem.gap(q)
            row |= {"amortised": float(np.mean(gaps)), "amortised_median": float(np.median(gaps))}
            if not family.gaussian:
                better = best_lib.refined(problem.x, q, problem.density.coarse, REFINED)
                row["refined"] = float(np.mean(np.minimum(gaps, problem.gap(better))))
    return row


def shown(num_points: int) -> dict[str, np.ndarray]:
    """Returns densities of three points at 4 turns whose Gaussian costs most."""
    with numerics.double():
        problem = exact(4, num_points)
        found = {name: problem.best(FAMILIES[name]) for name in ("Gaussian", "mixture of 4")}
        worst = np.argsort(found["Gaussian"].elbo - problem.log_evidence)[:3]
        z = np.linspace(-3, 3, 3001)
        nodes = problem.density.fine
        log_p = mixture.log_posterior(problem.x[worst], nodes)
        arrays = {"z": z, "exact p(z|x)": np.exp([np.interp(z, nodes.z[:, 0], p) for p in log_p])}
        for name, own in found.items():
            arrays[f"best {name}"] = np.exp(own.q[worst].log_prob(z[:, None]))
    return arrays


def posteriors(experiment: Experiment) -> None:
    ways = dict(list(WAYS.items())[3:4]) if experiment.quick else WAYS
    rows = []
    for part in ("known", "unknown")[: 1 if experiment.quick else None]:
        for way, own in ways.items():
            outcome = experiment.sweep(f"{part}_{way}", config.get_config(part), own)
            rows += [{"setting": f"sigma {part}", "way": way, **row} for row in outcome.rows]
    metrics = ("kl_to_truth", "inference_gap", "inference_gap_new")
    experiment.save(drawing.intervals(rows, metrics, by="way", facet="setting"), rows)
    experiment.tell(rows, (*metrics, "sigma_ratio"), by=("setting", "way"))

    turns, num_points, steps = ((4,), 4, 20) if experiment.quick else (TURNS, NUM_POINTS, STEPS)
    families = ["Gaussian", "mixture of 4"] if experiment.quick else list(FAMILIES)
    table = [
        of_exact_decoder(n, name, SPLINE_POINTS if name == "spline" else num_points, steps)
        for n in turns
        for name in families
    ]
    figure = drawing.families(table, shown(num_points))
    experiment.save(figure, table, part="turns")
    for row in table:
        shown_row = {k: f"{v:.4f}" for k, v in row.items() if isinstance(v, float)}
        print(f"{row['turns']} turns, {row['family']}: gap {shown_row}")


if __name__ == "__main__":
    main(posteriors)
