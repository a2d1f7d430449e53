"""The ridge of a cloud of points: where a curve with noise around it has its density's crest.

Each point moves uphill, across the ridge alone, on a kernel density estimate: subspace-constrained
mean shift (Ozertem & Erdogmus 2011, https://jmlr.org/papers/v12/ozertem11a.html). The kernels are
then drawn out along the ridge that was found, so that neighbouring arms of the curve don't pull.
"""

import numpy as np

_STEPS = 40  # of the mean shift at most, each round
_LARGEST = 0.5  # step, in widths
_SETTLED = 1e-3


def bandwidth(x: np.ndarray) -> float:
    """Returns the width of Gaussian kernels of largest leave-one-out likelihood, for x [n, D]."""
    square = np.sum((x[:, None] - x) ** 2, axis=-1)
    np.fill_diagonal(square, np.inf)
    scale = np.sqrt(np.trace(np.cov(x.T).reshape(x.shape[1], -1)))
    widths = scale * np.geomspace(0.02, 0.5, 40)
    with np.errstate(divide="ignore"):
        likelihood = [
            np.mean(np.log(np.sum(np.exp(-0.5 * square / h**2), axis=1))) - x.shape[1] * np.log(h)
            for h in widths
        ]
    return float(widths[int(np.argmax(likelihood))])


def ridge(x: np.ndarray, first: float, width: float, stretch: float, rounds: int = 4) -> np.ndarray:
    """Returns where on the ridge each point x [n, D] ends, [n, D].

    Args:
      x: points.
      first: width of the kernels of the first round, which are round.
      width: of those of the others, across the ridge.
      stretch: the last ones' length along the ridge over their width.
      rounds: how many come after the first.
    """
    y, tangent = _shifted(x, x, np.zeros_like(x), first, first)
    for i in range(rounds):
        length = width * (1 + (stretch - 1) * (i + 1) / rounds)
        y, tangent = _shifted(x, x.copy(), tangent, width, length)
    return y


def _shifted(
    x: np.ndarray, y: np.ndarray, tangent: np.ndarray, width: float, length: float
) -> tuple[np.ndarray, np.ndarray]:
    """Returns y [m, D] on the ridge of kernels at x, and the ridge's directions there.

    Args:
      x: centres of the kernels, [n, D].
      y: where to start, [m, D].
      tangent: directions of the kernels, [n, D].
      width: their standard deviation across.
      length: and along.
    """
    y, direction = y.copy(), np.zeros_like(y)
    moving = np.arange(len(y))
    for _ in range(_STEPS):
        step, direction[moving] = _step(x, y[moving], tangent, width, length)
        size = np.linalg.norm(step, axis=1)
        step *= np.minimum(1, _LARGEST * width / np.maximum(size, 1e-300))[:, None]
        y[moving] += step
        moving = moving[size > _SETTLED * width]
        if not len(moving):
            break
    return y, direction


def _step(
    x: np.ndarray, y: np.ndarray, tangent: np.ndarray, width: float, length: float
) -> tuple[np.ndarray, np.ndarray]:
    """Returns the step across the ridge and the ridge's direction, [m, D] both."""
    across, along = 1 / width**2, 1 / length**2
    away = x - y[:, None]  # [m, n, D]
    pull = across * away + (along - across) * np.sum(away * tangent, axis=-1)[..., None] * tangent
    weight = np.exp(-0.5 * np.sum(away * pull, axis=-1)) + 1e-300
    weight /= np.sum(weight, axis=1, keepdims=True)
    gradient = np.einsum("mn,mnd->md", weight, pull)
    eye = np.eye(x.shape[1])
    precision = across * eye + (along - across) * np.einsum(
        "mn,nd,ne->mde", weight, tangent, tangent
    )
    hessian = np.einsum("mn,mnd,mne->mde", weight, pull, pull) - precision
    hessian -= gradient[:, :, None] * gradient[:, None]
    direction = np.linalg.eigh(hessian)[1][..., -1]  # along which the density falls least
    step = np.linalg.solve(precision, gradient[..., None])[..., 0]
    return step - np.sum(step * direction, axis=1)[:, None] * direction, direction
