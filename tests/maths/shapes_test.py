"""Few shapes for many sizes: what comes out is what the function gives row by row."""

import jax
import numpy as np
import pytest

from spiral_vae.maths import shapes


@pytest.mark.parametrize("num", [1, 3, 4, 5, 8, 11])
def test_mapped_is_the_function_of_all_rows(num):
    x, y = np.arange(3.0 * num).reshape(num, 3), np.arange(num)
    found = shapes.mapped(
        lambda batch: {"sum": batch["x"].sum(axis=1) + batch["y"], "twice": 2 * batch["x"]},
        {"x": x, "y": y},
        size=4,
    )
    np.testing.assert_array_equal(found["sum"], x.sum(axis=1) + y)
    np.testing.assert_array_equal(found["twice"], 2 * x)


def test_mapped_compiles_once_for_all_numbers_of_rows():
    traced = []

    @jax.jit
    def square(x):
        traced.append(x.shape)
        return x**2

    for num in (1, 6, 7, 20):
        x = np.arange(num, dtype=np.float32)
        np.testing.assert_array_equal(shapes.mapped(square, x, size=6), x**2)
    assert traced == [(6,)]


def test_bucket_is_the_next_of_few_sizes():
    sizes = [1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128]
    for size in range(1, 129):
        assert shapes.bucket(size) == next(s for s in sizes if s >= size)


def test_pad_repeats_the_last_row():
    padded = shapes.pad(np.array([[1.0, 2.0], [3.0, 4.0]]), 4)
    np.testing.assert_array_equal(padded, [[1, 2], [3, 4], [3, 4], [3, 4]])
