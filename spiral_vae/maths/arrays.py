"""Names for arrays that are JAX's while training and numpy's in the exact evaluation."""

from typing import Any, TypeAlias

Array: TypeAlias = Any  # a jax.Array or a np.ndarray
Number: TypeAlias = Any  # of a lane: a float in a config, an array where it is trained
