"""`kernel.c`, compiled on the spot: the limit to come close to."""

import concurrent.futures
import ctypes
import functools
import subprocess
import tempfile
from pathlib import Path

import numpy as np

from benchmarks import points

_SOURCE = Path(__file__).with_name("kernel.c")
_FLAGS = ("-O3", "-march=native", "-ffast-math", "-shared", "-fPIC")


@functools.cache
def library(
    hidden: int = 32, batch_size: int = points.BATCH_SIZE, num_points: int = 200
) -> ctypes.CDLL:
    """Returns the compiled kernel for these sizes; needs a C compiler, `cc`."""
    with tempfile.TemporaryDirectory() as folder:
        built = Path(folder) / "kernel.so"
        sizes = (f"-DH={hidden}", f"-DB={batch_size}", f"-DN={num_points}")
        subprocess.run(["cc", *_FLAGS, *sizes, str(_SOURCE), "-o", str(built), "-lm"], check=True)
        found = ctypes.CDLL(str(built))
    array = np.ctypeslib.ndpointer(np.float32, flags="C_CONTIGUOUS")
    found.vae_num_params.restype = ctypes.c_long
    found.vae_step.restype = found.vae_train.restype = ctypes.c_float
    found.vae_step.argtypes = [array] * 3 + [ctypes.c_long] + [array] * 2 + [ctypes.c_float] * 2
    found.vae_train.argtypes = [array] * 4 + [ctypes.c_uint32] + [ctypes.c_long] * 2
    found.vae_train.argtypes += [ctypes.c_float] * 2
    return found


def make(*, seeds: int, num_points: int, hidden: int, cores: int):
    """Returns a function that trains all seeds for some epochs and returns the last mean loss."""
    kernel = library(hidden=hidden, num_points=num_points)
    # +-1/sqrt(fan_in), in the order of the kernel's struct
    fan_in = np.repeat(
        [2, hidden, 1, hidden], [3 * hidden, 2 * hidden + 2, 2 * hidden, 2 * hidden + 2]
    )
    lanes = []
    for seed in range(seeds):
        unit = np.random.default_rng(seed).uniform(-1, 1, len(fan_in))
        start = (unit / np.sqrt(fan_in)).astype(np.float32)
        moments = np.zeros((2, len(start)), np.float32)
        lanes.append((start, *moments, np.ascontiguousarray(points.spiral(seed, num_points).T)))
    done = 0

    def train(epochs: int) -> float:
        nonlocal done

        def one(seed: int) -> float:
            numbers = (points.SIGMA, points.LEARNING_RATE)
            return kernel.vae_train(*lanes[seed], seed, done, epochs, *numbers)

        with concurrent.futures.ThreadPoolExecutor(cores) as pool:
            losses = list(pool.map(one, range(seeds)))
        done += epochs
        return float(np.mean(losses))

    return train
