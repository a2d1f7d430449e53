"""Settings outside the config: variables, and a notebook that has set JAX up for itself."""

import re
from pathlib import Path
from random import Random
from typing import Any

from soak.lab import Lab, Result
from soak.process import Process
from soak.reference import SHORT, Reference

# Variables, each with values that a user's shell, container or notebook may have.
_VARIABLES = {
    "JAX_ENABLE_X64": ("1",),
    "JAX_DEFAULT_PRNG_IMPL": ("rbg", "unsafe_rbg"),
    "JAX_THREEFRY_PARTITIONABLE": ("0",),
    "JAX_ENABLE_CUSTOM_PRNG": ("1",),
    "JAX_LEGACY_PRNG_KEY": ("error",),
    "JAX_RANDOM_SEED_OFFSET": ("7",),
    "JAX_DEFAULT_MATMUL_PRECISION": ("bfloat16", "float32", "highest"),
    "JAX_NUMPY_DTYPE_PROMOTION": ("strict",),
    "JAX_NUMPY_RANK_PROMOTION": ("raise", "warn"),
    "JAX_SOFTMAX_CUSTOM_JVP": ("1",),
    "JAX_USE_DIRECT_LINEARIZE": ("0",),
    "JAX_DISABLE_JIT": ("1",),
    "JAX_DISABLE_MOST_OPTIMIZATIONS": ("1",),
    "JAX_OPTIMIZATION_LEVEL": ("O1",),
    "JAX_ENABLE_CHECKS": ("1",),
    "JAX_CHECK_TRACER_LEAKS": ("1",),
    "JAX_DEBUG_NANS": ("1",),
    "JAX_DEBUG_INFS": ("1",),
    "JAX_DEBUG_KEY_REUSE": ("1",),
    "JAX_TRANSFER_GUARD": ("disallow", "log"),
    "JAX_LOG_COMPILES": ("1",),
    "JAX_EXPLAIN_CACHE_MISSES": ("1",),
    "JAX_TRACEBACK_FILTERING": ("off",),
    "JAX_EMBEDDED_CONSTANTS_MAX_BYTES": ("0",),
    "JAX_USE_SHARDY_PARTITIONER": ("0",),
    "JAX_CPU_ENABLE_ASYNC_DISPATCH": ("0",),
    "JAX_NUM_CPU_DEVICES": ("1", "3", "5"),
    "JAX_PLATFORMS": ("cuda", "cpu"),
    "JAX_ENABLE_COMPILATION_CACHE": ("false",),
    "JAX_COMPILATION_CACHE_DIR": ("/proc/nowhere",),
    "XLA_FLAGS": ("--xla_force_host_platform_device_count=3", "--xla_cpu_enable_fast_math=true"),
    "OMP_NUM_THREADS": ("1", "7"),
    "HOME": ("/nowhere", "/proc", ""),
    "XDG_CACHE_HOME": ("/proc/nowhere",),
    "TMPDIR": ("/nowhere",),
    "MPLBACKEND": ("module://nowhere.backend", "tkagg"),
    "MPLCONFIGDIR": ("/proc/nowhere",),
    "LC_ALL": ("C", "tr_TR.UTF-8"),
    "PYTHONIOENCODING": ("ascii", "utf-16"),
    "PYTHONUTF8": ("0",),
    "PYTHONWARNINGS": ("error",),
    "PYTHONHASHSEED": ("1", "2"),
    "PYTHONOPTIMIZE": ("2",),
    "PYTHONDEVMODE": ("1",),
    "TZ": ("Asia/Kathmandu",),
    "COLUMNS": ("20",),
}
_UMASKS = (-1, -1, 0o000, 0o027, 0o077)
# The same run from Python, where other cells have set JAX up before.
_NOTEBOOK = """
import sys, jax
for name, value in {settings!r}.items():
    jax.config.update(name, value)
import spiral_vae
from spiral_vae.config import command_line
from absl import flags
flags.DEFINE_multi_string("sweep", [], "")
command_line.parse_flags(["notebook", *{args!r}])
config = flags.FLAGS.config
config.sweep = tuple(flags.FLAGS.sweep)
try:
    spiral_vae.train_and_evaluate(config, {workdir!r})
except ValueError as error:
    print("error:", error)
    sys.exit(2)
changed = {{k: v for k, v in {settings!r}.items() if getattr(jax.config, k, v) != v}}
sys.exit(f"settings of the caller were changed: {{changed}}" if changed else 0)
"""
_SETTINGS: dict[str, tuple[Any, ...]] = {
    "jax_enable_x64": (True,),
    "jax_default_prng_impl": ("rbg", "unsafe_rbg"),
    "jax_threefry_partitionable": (False,),
    "jax_default_matmul_precision": ("bfloat16", "highest"),
    "jax_numpy_dtype_promotion": ("strict",),
    "jax_numpy_rank_promotion": ("raise",),
    "jax_debug_nans": (True,),
    "jax_debug_infs": (True,),
    "jax_disable_jit": (True,),
    "jax_random_seed_offset": (7,),
    "jax_use_direct_linearize": (False,),
    "jax_transfer_guard": ("disallow",),
}


def environments(lab: Lab, reference: Reference, count: int) -> list[Result]:
    """Runs under random variables; identical, refused, or told that numbers may differ."""

    def one(folder: Path, random: Random, number: int) -> Result:
        del number
        names = random.sample(list(_VARIABLES), random.randint(1, 6))
        chosen = {name: random.choice(_VARIABLES[name]) for name in names}
        umask = random.choice(_UMASKS)
        process = Process(
            lab.code,
            lab.environment | chosen,
            folder,
            *SHORT,
            f"--workdir={folder / 'run'}",
            umask=umask,
        )
        return _judged("random variables", process, reference, folder, f"{chosen}, umask {umask}")

    return lab.tries("environments", one, count)


def notebooks(lab: Lab, reference: Reference, count: int) -> list[Result]:
    """Runs from Python under random settings of JAX; identical or refused, and settings kept."""

    def one(folder: Path, random: Random, number: int) -> Result:
        del number
        names = random.sample(list(_SETTINGS), random.randint(1, 4))
        settings = {name: random.choice(_SETTINGS[name]) for name in names}
        text = _NOTEBOOK.format(settings=settings, args=SHORT, workdir=str(folder / "run"))
        process = Process(lab.code, lab.environment, folder, program=("-c", text))
        return _judged("settings in a notebook", process, reference, folder, repr(settings))

    return lab.tries("notebooks", one, count)


def _judged(
    fault: str, process: Process, reference: Reference, folder: Path, chosen: str
) -> Result:
    code, output = process.end(), process.output
    refused = bool(re.search(r"^error: ", output, re.MULTILINE))
    if code == 2 and refused and "Traceback" not in output:
        return Result(fault, "refused with a sentence")
    if code != 0:
        return Result(fault, f"exit status {code}", process.report(chosen))
    found = reference.differences(folder / "run")
    if not found:
        return Result(fault, "identical")
    if "which may change numbers" in output:
        return Result(fault, "told that numbers may differ")
    return Result(fault, "differs in silence", process.report(f"{chosen}: {found}"))
