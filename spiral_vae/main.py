"""The command line: flags, devices, one call. Everything else can be imported and tested.

python -m spiral_vae.main --config=configs/base.py [--workdir=DIR]
    [--config.likelihood.sigma=0.1 ...] [--sweep=likelihood.sigma=0.0001,0.2,2.0 ...]
"""

import logging
import os
from pathlib import Path

import jax
from absl import app, flags
from ml_collections import config_flags

from spiral_vae import config as config_lib
from spiral_vae import report, results, run

_CONFIG = config_flags.DEFINE_config_file("config", None, "Config file.", lock_config=True)
_WORKDIR = flags.DEFINE_string(
    "workdir", None, "New or empty folder for the results; by default a dated one under runs/."
)
_SWEEP = flags.DEFINE_multi_string(
    "sweep",
    [],
    "An axis of a sweep: FIELD=VALUE,VALUE,... or FIELD=lin(LO,HI,N) or FIELD=log(LO,HI,N). "
    "May be repeated: the lanes are the product of all axes and the seeds.",
)


def main(argv: list[str]) -> None:
    del argv
    config = _CONFIG.value
    config.sweep = (*config.sweep, *_SWEEP.value)
    _configure_jax()
    try:
        outcome = run.run(config, _WORKDIR.value)
    except (config_lib.ConfigError, results.WorkdirError) as error:
        config_lib.fail(error)
    print(report.table(outcome.rows))
    print(f"results: {outcome.workdir}")
    print(f"figures: {outcome.workdir / 'figures'}")


def _configure_jax() -> None:
    """Sets what a run wants of JAX, where the environment does not say otherwise."""
    # absl would show JAX's news about the backends that it looks for.
    logging.getLogger("jax").setLevel(logging.WARNING)
    # On CPU every core is a device of its own; other platforms ignore this.
    if "JAX_NUM_CPU_DEVICES" not in os.environ:
        jax.config.update("jax_num_cpu_devices", len(os.sched_getaffinity(0)))
    # Compilation takes longer than a short run: keep what was compiled.
    if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
        base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        jax.config.update("jax_compilation_cache_dir", str(base / "spiral_vae"))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)


if __name__ == "__main__":
    app.run(main, flags_parser=config_lib.parse_flags)
