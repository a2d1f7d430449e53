"""The command line: flags, devices, one call. Everything else can be imported and tested.

python -m spiral_vae.main --config=configs/base.py [--workdir=DIR]
    [--config.likelihood.sigma=0.1 ...] [--sweep=likelihood.sigma=0.0001,0.2,2.0 ...]
    [--figures=none] [--explore]
python -m spiral_vae.main --resume --workdir=DIR
"""

import gc
import logging
import os
import shlex
import signal
import sys
import traceback
from pathlib import Path
from typing import NoReturn

import jax
from absl import app, flags

from spiral_vae import machine
from spiral_vae.config import command_line
from spiral_vae.config.values import ConfigError
from spiral_vae.present import table
from spiral_vae.runs import replay, run
from spiral_vae.training import cells
from spiral_vae.workdir import life
from spiral_vae.workdir.life import WorkdirError

_WORKDIR = flags.DEFINE_string(
    "workdir", None, "New or empty folder for the results; by default a dated one under runs/."
)
_SWEEP = flags.DEFINE_multi_string(
    "sweep",
    [],
    "An axis of a sweep: FIELD=VALUE,VALUE,... or FIELD=lin(LO,HI,N) or FIELD=log(LO,HI,N). "
    "May be repeated: the lanes are the product of all axes and the seeds.",
)
_RESUME = flags.DEFINE_bool(
    "resume",
    False,
    "Go on with the run in --workdir. With a --config the same command also begins it.",
)
_EXPLORE = flags.DEFINE_bool(
    "explore", False, "Write explorer.html into the workdir at the end, a page to play with."
)
_FIGURES = flags.DEFINE_enum(
    "figures",
    "all",
    run.FIGURES,
    "What to draw; basic is the training and what was learned, svg all of them as SVG too.",
)
_DEBUG_NANS = flags.DEFINE_bool(
    "debug_nans",
    False,
    "In a --workdir with lanes that stopped being finite: repeat the step with JAX's checks.",
)
_DISTRIBUTED = flags.DEFINE_bool(
    "distributed", False, "One of several processes, found by JAX (Slurm, Open MPI, TPU pods, ...)."
)
_COORDINATOR = flags.DEFINE_string(
    "coordinator", None, "HOST:PORT of the first of several processes, where JAX can't find it."
)
_NUM_PROCESSES = flags.DEFINE_integer("num_processes", None, "With --coordinator: how many.")
_PROCESS_ID = flags.DEFINE_integer("process_id", None, "With --coordinator: which, from 0 on.")

TIMEOUT = 30  # seconds until the others stop when one process has died or failed
LANES_FAILED = 3  # exit status of a run that is complete but for lanes that failed


def main(argv: list[str]) -> int | None:
    """Runs the command; returns its exit status."""
    del argv
    gc.freeze()  # what was imported stays; to look through it again takes a third of a second
    config = flags.FLAGS.config
    config.sweep = (*config.sweep, *_SWEEP.value)
    stop = _Stop()
    try:
        _configure_libraries()
        stop.listen()
        if _DEBUG_NANS.value:
            _debug_nans()
            return None
        outcome = run.train_and_evaluate(
            config, _WORKDIR.value, figures=_FIGURES.value, resume=_RESUME.value, stop=stop
        )
    except (ConfigError, WorkdirError) as error:
        command_line.fail(error)
    except cells.Stopped as stopped:
        command = ["python", "-m", "spiral_vae.main", "--resume", f"--workdir={stopped}"]
        command += [f"--figures={_FIGURES.value}"] * (_FIGURES.value != "all")
        print(f"stopped; to go on: {shlex.join(command)}", file=sys.stderr)
        stop.exit()
    if outcome is None:  # with several processes the first one alone writes and reports
        return None
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # who reads a pipe may have seen enough
    print(table.table(outcome.rows, outcome.axes))
    print(f"results: {outcome.workdir}")
    if (folder := outcome.workdir / life.FIGURES).exists():
        print(f"figures: {folder}")
    if _EXPLORE.value:
        from spiral_vae.explore import page  # no other run needs it

        try:
            print(f"explorer: {page.write(outcome.workdir)}")
        except (ConfigError, WorkdirError) as error:
            command_line.fail(error)
    return LANES_FAILED if any(row["status"] != "ok" for row in outcome.rows) else None


def _debug_nans() -> None:
    """Prints where the lanes of the workdir stopped being finite."""
    failures = list(replay.failures(_WORKDIR.value or ""))
    for failure in failures:
        print(f"lane {failure.lane}: not finite at step {failure.step}: {failure.term}")
        trace = failure.error.__traceback__ if failure.error else None
        for frame in traceback.extract_tb(trace):
            if Path(__file__).parent in Path(frame.filename).parents:
                print(f"  {frame.filename}:{frame.lineno} {frame.name}: {frame.line}")
        print(f"  {failure.error or 'all is finite when it is run operation by operation'}")
    print(f"lanes that stopped being finite: {len(failures)}")


class _Stop:
    """Whether SIGTERM or Ctrl-C has asked to stop; a second one ends the process at once."""

    def __init__(self):
        self._number = 0

    def __call__(self) -> bool:
        return self._number > 0

    def listen(self) -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._hear)

    def _hear(self, number: int, frame: object) -> None:
        if self._number:
            self.exit()
        self._number = number
        print("stopping after this chunk; again to stop at once", file=sys.stderr, flush=True)

    def exit(self) -> NoReturn:
        """Ends the process as shells expect of one that a signal ended."""
        sys.stdout.flush()
        os._exit(128 + self._number)  # without waiting for threads or for other processes


def _configure_libraries() -> None:
    """Sets what a run wants of its libraries, where the environment does not say otherwise."""
    # Figures go to files; that of a notebook, whose variables this process has, may not be there.
    os.environ["MPLBACKEND"] = "agg"
    # absl would show their news: which backends are looked for, where a font list is kept.
    logging.getLogger("jax").setLevel(logging.WARNING)
    logging.getLogger("matplotlib").setLevel(logging.ERROR)
    if note := machine.prepare_jax():
        print(f"note: {note}", file=sys.stderr)
    given = (_COORDINATOR.value, _NUM_PROCESSES.value, _PROCESS_ID.value)
    if _DISTRIBUTED.value or given != (None, None, None):
        _join_processes(*given)
    try:
        jax.devices()
    except (RuntimeError, AssertionError) as error:
        wanted = os.environ.get("JAX_PLATFORMS", "")
        first = (str(error) or "no such device").splitlines()[0]
        raise ConfigError(f"JAX_PLATFORMS: found {wanted!r}, but JAX says: {first}") from error


def _join_processes(
    coordinator: str | None, num_processes: int | None, process_id: int | None
) -> None:
    """Makes this process one of several that share a sweep."""
    if not _DISTRIBUTED.value and None in (coordinator, num_processes, process_id):
        raise ConfigError("--coordinator, --num_processes, --process_id: must be given together")
    try:
        jax.distributed.initialize(
            coordinator,
            num_processes,
            process_id,
            heartbeat_timeout_seconds=TIMEOUT,
            shutdown_timeout_seconds=TIMEOUT,
        )
    except (RuntimeError, ValueError) as error:
        raise ConfigError(f"--coordinator, --distributed: {error}") from error


if __name__ == "__main__":
    machine.open_streams()
    if problem := machine.unsupported():
        command_line.fail(problem)
    app.run(main, flags_parser=command_line.parse_flags)
