"""The settings under which all is computed, whatever the environment or the caller has set.

Some settings of JAX hold for a thread while a context lasts: these are pinned, and the caller's
come back. Others hold for the whole process: where one of them may change a number, a run is
refused if it is off its default.
"""

import contextlib
import os
import re
from collections.abc import Iterator, Mapping
from typing import Any

import jax
import numpy as np

# By the names that JAX gives them. Precision comes with `single` and `double`.
PINNED: Mapping[str, Any] = {
    "jax_default_prng_impl": "threefry2x32",
    "jax_threefry_partitionable": True,
    "jax_default_matmul_precision": "highest",
    "jax_numpy_dtype_promotion": "standard",
    "jax_numpy_rank_promotion": "allow",
    "jax_softmax_custom_jvp": False,
    "jax_disable_jit": False,
    "jax_debug_nans": False,  # a lane that is not finite must not end the others
    "jax_debug_infs": False,
    "jax_debug_key_reuse": False,
    "jax_transfer_guard": "allow",
    "jax_array_garbage_collection_guard": "allow",
}
# Those that a version of JAX doesn't have are as if at their default.
REQUIRED: Mapping[str, Any] = {
    "eager_constant_folding": False,
    "jax_accurate_erf_inv": False,
    "jax_allow_f16_reductions": True,
    "jax_compiler_enable_remat_pass": True,
    "jax_custom_jvp3": False,
    "jax_custom_vjp3": False,
    "jax_disable_most_optimizations": False,
    "jax_enable_pgle": False,
    "jax_error_checking_behavior_divide": "ignore",
    "jax_error_checking_behavior_nan": "ignore",
    "jax_error_checking_behavior_oob": "ignore",
    "jax_exec_time_optimization_effort": 0.0,
    "jax_memory_fitting_effort": 0.0,
    "jax_memory_fitting_level": "O2",
    "jax_no_execution": False,
    "jax_no_tracing": False,
    "jax_optimization_level": "UNKNOWN",
    "jax_random_seed_offset": 0,
    "jax_remat3": False,
    "jax_scan3": False,
    "jax_threefry_gpu_kernel_lowering": False,
    "jax_use_direct_linearize": True,
    "jax_use_hlo_logistic_lowering": None,
    "jax_use_simplified_jaxpr_constants": False,
}
# Variables that go past JAX to its compilers, with hundreds of flags.
_VARIABLES = ("XLA_FLAGS", "LIBTPU_INIT_ARGS", "NVIDIA_TF32_OVERRIDE")
_HARMLESS = re.compile(r"--xla_(force_host_platform_device_count|dump_\w+)\b.*")


@contextlib.contextmanager
def single() -> Iterator[None]:
    """Pins what this thread computes, in float32: data, initialisation and training."""
    with _pinned(False):
        yield


@contextlib.contextmanager
def double() -> Iterator[None]:
    """Pins what this thread computes, in float64: the exact evaluation."""
    with _pinned(True):
        yield


@contextlib.contextmanager
def _pinned(x64: bool) -> Iterator[None]:
    with contextlib.ExitStack() as stack:
        for name, value in {"jax_enable_x64": x64, **PINNED}.items():
            if getattr(jax.config, name) != value:  # to enter a context takes ten times as long
                stack.enter_context(getattr(jax, name.removeprefix("jax_"))(value))
        stack.enter_context(np.errstate(all="warn", under="ignore"))
        yield


def problems() -> list[str]:
    """Returns a sentence for each setting of the process that may change numbers."""
    found = {name: jax.config.values.get(name, value) for name, value in REQUIRED.items()}
    return [
        f"{name}: found {found[name]!r}, must be {value!r} here; it may change numbers"
        for name, value in REQUIRED.items()
        if found[name] != value
    ]


def variables() -> dict[str, str]:
    """Returns what the environment tells the compilers that may change numbers, by variable."""
    found = {}
    for name in _VARIABLES:
        flags = [flag for flag in os.environ.get(name, "").split() if not _HARMLESS.fullmatch(flag)]
        if flags:
            found[name] = " ".join(flags)
    return found


def settings() -> dict[str, Any]:
    """Returns what training computes with, by JAX's names and those of variables."""
    return {"jax_enable_x64": False, **PINNED, **REQUIRED, **variables()}
