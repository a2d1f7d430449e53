"""The points of the basic run in plain numpy, for contestants that know nothing of this project."""

import numpy as np

SIGMA = 0.2
LEARNING_RATE = 1e-3
BATCH_SIZE = 100


def spiral(seed: int, num_points: int) -> np.ndarray:
    """Returns noisy points on the spiral of `configs/base.py`, [num_points, 2], float32."""
    t = np.sqrt(np.linspace(0.01, 1, num_points))
    curve = 2.5 * t * np.array([np.cos(2.8 * np.pi * t), np.sin(2.8 * np.pi * t)])
    noise = SIGMA * np.random.default_rng(seed).standard_normal((num_points, 2))
    return (curve.T + noise).astype(np.float32)
