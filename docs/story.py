# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # A variational autoencoder on a spiral, with the exact answer beside it
#
# Points are scattered around a spiral. A variational autoencoder shall find the curve, and where on
# it each point lies, without being told that there is one. Here the process is known and the latent
# has one dimension, so that everything which is usually estimated, the evidence, the posterior, the
# gap between the two sides of the bound, can be integrated to rounding instead.
#
# `pip install "spiral_vae[notebook]"`; a few minutes on two cores.

# %%
import os
import tempfile

import jax
import matplotlib.pyplot as plt
import numpy as np

import spiral_vae

spiral_vae.prepare_jax()  # all cores, compiled code kept: before JAX computes anything
# Fewer for a quick look.
EPOCHS = int(os.environ.get("STORY_EPOCHS", "20000"))
QUICK = {"train.compiled": "quickly", "evaluate.gap_points": 10} if EPOCHS < 1000 else {}
WORK = tempfile.mkdtemp()  # the folders of all runs below

plt.rcParams["figure.constrained_layout.use"] = True

# %% [markdown]
# ## The process
#
# A place $t = \sqrt{u}$ with even $u$, a point $f(t) = \dot r t (\cos \omega t, \sin \omega t)$,
# and Gaussian noise of $\sigma = 0.2$. Its density $p^*(x) = \int p(t) N(x; f(t), \sigma^2) dt$ is
# an integral over one number, and so is known to some 12 digits. Its entropy is the nll that no
# model can beat.

# %%
spiral = spiral_vae.Spiral()
truth = spiral_vae.truth(spiral)
data = spiral.sample(jax.random.key(0))

axis = np.linspace(-3, 3, 241)
plane = np.stack(np.meshgrid(axis, axis), axis=-1)
log_density, _ = truth.density.log_density(plane.reshape(-1, 2))

fig, (left, right) = plt.subplots(1, 2, figsize=(9, 4.2), sharex=True, sharey=True)
colours = left.scatter(*data.x.T, c=data.t, s=12)
fig.colorbar(colours, ax=left, label="true place t")
left.set_title(f"{len(data.x)} points")
right.pcolormesh(axis, axis, np.exp(log_density).reshape(241, 241), cmap="Blues", rasterized=True)
right.set_title(f"p*, entropy {truth.entropy.value:.6f} nats")
for ax in (left, right):
    ax.set_aspect("equal")

# %% [markdown]
# ## One network
#
# An encoder and a decoder of one hidden layer of 32, trained by Adam on the ELBO with the decoder's
# sigma at its true value. All numbers of the report are quadrature.

# %%
run = spiral_vae.run({"train.num_epochs": EPOCHS, **QUICK}, workdir=f"{WORK}/one")
lane = run.lane()
for name in ("elbo", "train_log_evidence", "inference_gap", "kl_to_truth", "order_of_curve"):
    print(f"{name:>20} {lane.metrics[name]:.6f}")

# %% [markdown]
# The latent against the true place, the reconstructions, and points that the model makes up:

# %%
lane.figure("basic_run")

# %% [markdown]
# ## The bound and its gap
#
# $\log p(x) = \mathrm{ELBO}(x) + \mathrm{KL}(q(z|x) \| p(z|x))$. Both posteriors can be drawn, and
# the KL between them falls into what no Gaussian could do (approximation) and what this encoder
# does worse than the best Gaussian (amortisation).

# %%
points = lane.x[np.linspace(0, len(lane.x) - 1, 5).astype(int)][1:4]
seen = lane.posterior(points)
fig, axes = plt.subplots(1, len(points), figsize=(10, 3))
for i, ax in enumerate(axes):
    near = seen.exact[i] + seen.encoder[i] > 1e-3
    ax.fill_between(seen.z[near], seen.exact[i][near], color="0.85", label="exact")
    ax.plot(seen.z[near], seen.encoder[i][near], label="encoder")
    ax.plot(seen.z[near], seen.best[i][near], "--", label="best Gaussian")
    ax.set_title(f"x = ({points[i][0]:.2f}, {points[i][1]:.2f})")
    ax.set_xlabel("z")
axes[0].legend(fontsize=8)
print("   log p(x) =     elbo + approximation + amortisation")
parts = np.stack([seen.log_evidence, seen.elbo, seen.approximation, seen.amortisation], axis=1)
for row in parts:
    print("{:11.6f} = {:8.6f} + {:13.6f} + {:12.6f}".format(*row))
assert np.allclose(parts[:, 0], parts[:, 1:].sum(axis=1), rtol=0, atol=1e-12)

# %% [markdown]
# ## The film of the training
#
# A run keeps its network at some epochs, most of them early: that is when the spiral unrolls.

# %%
shown = [lane.at(epoch) for epoch in (10, 100, 1000, EPOCHS // 4, EPOCHS)]
z = np.linspace(-3, 3, 400)
fig, axes = plt.subplots(1, len(shown), figsize=(12, 2.8), sharex=True, sharey=True)
for ax, one in zip(axes, shown, strict=True):
    ax.plot(*lane.x.T, ".", color="0.8", markersize=3)
    ax.plot(*one.decode(z).T)
    ax.set_title(f"epoch {one.epoch}: KL to p* {one.metrics['kl_to_truth']:.2f}", fontsize=9)
    ax.set_aspect("equal")

# %% [markdown]
# ## What a wrong sigma does
#
# A decoder that is told too small a sigma overfits, one that is told too large a sigma pulls all
# points together. Nine sigmas, four seeds: 36 networks that train at once.

# %%
sweep = spiral_vae.run(
    {"train.num_epochs": EPOCHS, **QUICK},
    sweep={"likelihood.sigma": np.geomspace(0.02, 2.0, 9).round(4)},
    seeds=4,
    workdir=f"{WORK}/sweep",
)
sigmas = sweep.axes["likelihood.sigma"]
fig, axes = plt.subplots(1, 4, figsize=(12, 3), sharex=True, sharey=True)
for ax, sigma in zip(axes, [sigmas[0], sigmas[4], sigmas[6], sigmas[8]], strict=True):
    one = sweep.lane(sigma=sigma, seed=0)
    ax.plot(*one.x.T, ".", color="0.8", markersize=3)
    ax.plot(*one.decode(z).T)
    ax.set_title(f"sigma {sigma}", fontsize=10)
    ax.set_aspect("equal")

# %% [markdown]
# Distance to the truth against sigma, each seed a dot. The minimum is at the true value, 0.2, and
# what overfitting and collapse cost is not the same.

# %%
kl = sweep.dataset.kl_to_truth
fig, ax = plt.subplots(figsize=(6, 3.6))
ax.loglog(sigmas, kl.values.reshape(len(sigmas), -1), ".", color="C0", alpha=0.5)
ax.loglog(sigmas, kl.median("seed"), color="C0", label="median of 4 seeds")
ax.axvline(0.2, color="0.5", linestyle=":", label="true sigma")
ax.set_xlabel("sigma of the decoder")
ax.set_ylabel("KL(p* || p), nats")
_ = ax.legend()

# %% [markdown]
# Beyond the root of the largest eigenvalue of the data's covariance the prior is the best that a
# latent can do, and the encoder says the same about every point: the posterior has collapsed.

# %%
threshold = np.sqrt(truth.eigenvalues[0])
fig, axes = plt.subplots(1, 2, figsize=(9, 3), sharey=True)
for ax, sigma in zip(axes, [sigmas[4], sigmas[8]], strict=True):
    q = sweep.lane(sigma=sigma, seed=0).encode(lane.x)
    ax.hist(q.mean[:, 0], np.linspace(-2.5, 2.5, 41), alpha=0.6, label="mean of q")
    ax.hist(q.scale[:, 0], np.linspace(-2.5, 2.5, 41), alpha=0.6, label="its standard deviation")
    ax.set_title(f"sigma {sigma}, threshold {threshold:.2f}")
_ = axes[0].legend()

# %% [markdown]
# ## Sigma unknown
#
# Nobody is told the sigma of real data. The recommended config learns it. How well, and how
# much of that is luck, sixteen seeds say.

# %%
unknown = spiral_vae.run(
    spiral_vae.base_config({"train.num_epochs": EPOCHS // 2, **QUICK}, "recommended"),
    seeds=16,
    workdir=f"{WORK}/unknown",
)
found = unknown.dataset
fig, (left, right) = plt.subplots(1, 2, figsize=(9, 3))
left.hist(found.sigma, 12)
left.axvline(0.2, color="0.5", linestyle=":")
left.set_xlabel("learned sigma, 16 seeds; true 0.2")
right.hist(found.kl_to_truth, 12)
right.set_xlabel("KL(p* || p), nats")
for name in ("sigma", "kl_to_truth", "inference_gap_new"):
    low, median, high = np.quantile(found[name], [0.1, 0.5, 0.9])
    print(f"{name:>18}: {median:.3f} ({low:.3f} - {high:.3f})")

# %% [markdown]
# ## Play with it
#
# The sweep over sigma as a page: drag sigma, scrub through the training, tap a point.

# %%
sweep.explore()
