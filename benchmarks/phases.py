"""The command line with a stopwatch: python -m benchmarks.phases FILE [what spiral_vae.main takes]

Writes the seconds of imports, compilation, training, evaluation and figures to FILE, as JSON.
"""

import atexit
import json
import statistics
import sys
import time
from pathlib import Path

_START = time.perf_counter()
_SECONDS = {}


def _timed(name: str, function):
    def wrapped(*args, **kwargs):
        start = time.perf_counter()
        try:
            return function(*args, **kwargs)
        finally:
            _SECONDS[name] = time.perf_counter() - start

    return wrapped


def _split(train):
    """Tells the first chunk, in which all is compiled, from the others."""

    def wrapped(*args, on_chunk, **kwargs):
        times = [time.perf_counter()]

        def recorded(*chunk):
            times.append(time.perf_counter())
            on_chunk(*chunk)

        try:
            return train(*args, on_chunk=recorded, **kwargs)
        finally:
            chunks = [b - a for a, b in zip(times, times[1:], strict=False)]
            _SECONDS["compilation"] = chunks[0] - statistics.median(chunks)
            _SECONDS["training"] = time.perf_counter() - times[0] - _SECONDS["compilation"]

    return wrapped


def main() -> None:
    file = Path(sys.argv.pop(1))
    from absl import app

    from spiral_vae import main as command
    from spiral_vae.config import command_line
    from spiral_vae.runs import run
    from spiral_vae.training import cells

    _SECONDS["imports"] = time.perf_counter() - _START
    cells.train = _split(cells.train)
    run.evaluate_lanes = _timed("evaluation", run.evaluate_lanes)
    run._draw = _timed("figures", run._draw)
    atexit.register(lambda: file.write_text(json.dumps(_SECONDS)))
    app.run(command.main, flags_parser=command_line.parse_flags)


if __name__ == "__main__":
    main()
