"""How long the exact evaluation takes and how much memory, for one lane and for 64.

    python -m benchmarks.evaluation

Lanes of the basic run are trained for 2 000 epochs, by when they follow the spiral. The first
evaluation compiles and is timed apart. The targets: 1 s, 20 s and 2 GiB, on two cores.
"""

import os
import platform
import resource
import statistics
import time

import jax

from configs import base
from spiral_vae import cells, run, sweep
from spiral_vae import config as config_lib
from spiral_vae import trained as trained_lib

NUM_LANES = 64
REPEATS = 5


def main() -> None:
    jax.config.update("jax_num_cpu_devices", len(os.sched_getaffinity(0)))
    config = base.get_config()
    config.num_seeds = NUM_LANES
    config.train.num_epochs = 2_000
    _, rows = config_lib.expand(config, [])
    (group,) = sweep.groups(config, rows)
    trained = cells.train(
        group.lanes,
        group.program,
        cell_width=config.cell_width,
        log_every=config.train.log_every,
        probe=run.probe_fn(group.program),
        probe_every=0,
        on_chunk=lambda num_epochs, metrics: None,
    )
    model = run.model_of(group, trained, 0)
    start = time.perf_counter()
    trained_lib.judge(model)
    first = time.perf_counter() - start
    times = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        trained_lib.judge(model)
        times.append(time.perf_counter() - start)
    start = time.perf_counter()
    run.evaluate_lanes([group], [trained], rows)
    many = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"{platform.machine()}, {len(os.sched_getaffinity(0))} cores, jax {jax.__version__}")
    print("| evaluation | seconds |\n| --- | --- |")
    print(f"| one lane, first, compilation included | {first:.2f} |")
    print(f"| one lane, median of {REPEATS} | {statistics.median(times):.2f} |")
    print(f"| {NUM_LANES} lanes | {many:.1f} |")
    print(f"\nPeak memory of the process: {peak:.2f} GiB")


if __name__ == "__main__":
    main()
