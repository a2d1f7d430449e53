"""One contestant in a process of its own, which trains when it is told to.

    python -m benchmarks.worker ours.make '{"seeds": 64, "num_points": 200, ...}'

Reads numbers of epochs, a line each, and answers each with the seconds that they took and the peak
memory of the process so far in MiB, as JSON.
"""

import importlib
import json
import os
import resource
import sys
import time


def main() -> None:
    name, sizes = sys.argv[1], json.loads(sys.argv[2])
    if hasattr(os, "sched_setaffinity"):  # elsewhere a contestant takes what it gets
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: sizes["cores"]])
    answers = os.fdopen(os.dup(1), "w")  # whatever else is printed is not an answer
    os.dup2(2, 1)
    module, function = name.split(".")
    if module in ("ours", "jax_loops"):
        import jax

        jax.config.update("jax_platforms", "cpu")
        jax.config.update("jax_num_cpu_devices", sizes["cores"] if module == "ours" else 1)
    train = getattr(importlib.import_module(f"benchmarks.{module}"), function)(**sizes)
    for line in sys.stdin:
        start = time.perf_counter()
        train(int(line))
        seconds = time.perf_counter() - start
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
        print(json.dumps([seconds, peak]), file=answers, flush=True)


if __name__ == "__main__":
    main()
