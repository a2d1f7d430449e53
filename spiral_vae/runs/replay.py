"""The steps at which lanes of a run stopped being finite, once more, with JAX's own checks."""

import dataclasses
import functools
from collections.abc import Iterator
from pathlib import Path

import jax

from spiral_vae import numerics
from spiral_vae.config import axes, lanes, stored
from spiral_vae.process import Data
from spiral_vae.training import cells, train
from spiral_vae.workdir import environment, files, life
from spiral_vae.workdir.checkpoint import Checkpoints
from spiral_vae.workdir.life import WorkdirError


@dataclasses.dataclass(frozen=True)
class Failure:
    """Where a lane stopped being finite."""

    lane: int
    step: int  # from the start of the training, from 1 on
    term: str  # of train.TERMS
    error: FloatingPointError | None  # JAX's, with the traceback; None if it does not come again


def failures(workdir: str | Path) -> Iterator[Failure]:
    """Yields where the lanes of a run broke down, found again from their last checkpoints.

    The bad step is run operation by operation, so that the error's traceback leads to the line.

    Args:
      workdir: of a run, trained to its end.

    Raises:
      WorkdirError: there is no such run, it is not finished, or a lane that broke down has no good
        checkpoint.
    """
    path = Path(workdir)
    life.verify(path, life.CONFIG, life.SUMMARY)
    config = stored.from_json((path / life.CONFIG).read_text())
    _, rows = axes.expand(config, config.sweep)
    summary = files.read_csv(path / life.SUMMARY)
    statuses = zip(summary["lane"], summary["status"], strict=True)
    broken = {lane for lane, status in statuses if status.startswith(cells.NOT_FINITE)}
    for number, group in enumerate(lanes.groups(config, rows)):
        store = Checkpoints(path / life.CHECKPOINTS / f"group_{number}", keep=1)
        try:
            failed = cells.failed(group.lanes, cell_width=config.cell_width, store=store)
        except cells.OtherData:
            raise WorkdirError(environment.other_data(path)) from None
        for place, state, data, lane in failed:
            place = int(group.index[place])
            broken.discard(place)
            yield _again(place, state, data, lane)
    if broken:
        raise WorkdirError(f"{path} has no good checkpoint of lane {min(broken)}")


@numerics.single()
def _again(number: int, state: train.State, data: Data, lane: train.Lane) -> Failure:
    step, term = train.first_failure(state, data, lane)
    steps = train.batches(state.epoch, state.key, data, lane)
    one = functools.partial(train.train_step, lane=lane)
    bad = int(step - 1) % lane.steps_per_epoch
    carry = (state.params, state.opt_state, state.carried)
    carry, _ = jax.lax.scan(one, carry, jax.tree.map(lambda leaf: leaf[:bad], steps))
    error = None
    try:
        with jax.disable_jit(), jax.debug_nans(True), jax.debug_infs(True):
            one(carry, jax.tree.map(lambda leaf: leaf[bad], steps))
    except FloatingPointError as raised:
        error = raised
    return Failure(number, int(step), train.TERMS[int(term)], error)
