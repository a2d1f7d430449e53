"""Contestants side by side: each in its own process, taking turns on one machine."""

import dataclasses
import json
import statistics
import subprocess
import sys
from collections.abc import Sequence

FIRST_EPOCHS = 300  # of the basic run, after which losses can be compared


@dataclasses.dataclass(frozen=True)
class Contestant:
    """What is timed, and how much of it."""

    name: str  # as in the table
    make: str  # the function of benchmarks/ that gives its training
    seeds: int = 1
    num_points: int = 200
    hidden: int = 32
    cores: int = 2


@dataclasses.dataclass(frozen=True)
class Time:
    """What was found, by turns."""

    contestant: Contestant
    first: float  # seconds of the first epochs, compilation included
    loss: float  # after them
    epoch: list[float]  # microseconds an epoch and seed, one a turn
    peak: float  # memory, MiB

    @property
    def median(self) -> float:
        return statistics.median(self.epoch)

    def ratio(self, other: "Time") -> float:
        """Returns the median over the turns of this one's time over the other's."""
        return statistics.median(a / b for a, b in zip(self.epoch, other.epoch, strict=True))


def race(
    contestants: Sequence[Contestant], turns: int, *, seconds: float = 1.0, epochs: int = 0
) -> list[Time]:
    """Returns the times of all contestants.

    Args:
      contestants: who takes part.
      turns: how often each trains.
      seconds: about how long a turn takes, where the number of epochs isn't given.
      epochs: of a turn.
    """
    workers = [Worker(contestant) for contestant in contestants]
    starts = [worker.warm_up(seconds, epochs) for worker in workers]
    answers = [[worker.train() for worker in workers] for _ in range(turns)]
    found = []
    for i, worker in enumerate(workers):
        first, loss = starts[i]
        per_epoch = [turn[i][0] / worker.epochs / worker.contestant.seeds * 1e6 for turn in answers]
        found.append(Time(worker.contestant, first, loss, per_epoch, answers[-1][i][2]))
        worker.close()
    return found


class Worker:
    """The process of a contestant."""

    def __init__(self, contestant: Contestant):
        self.contestant = contestant
        sizes = dataclasses.asdict(contestant)
        sizes.pop("name")
        command = [sys.executable, "-m", "benchmarks.worker", sizes.pop("make"), json.dumps(sizes)]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        basic = contestant.num_points == 200 and contestant.hidden == 32
        self.epochs = FIRST_EPOCHS if basic else 1

    def train(self) -> tuple[float, float, float]:
        """Returns seconds, loss and peak memory after so many epochs more."""
        print(self.epochs, file=self._process.stdin, flush=True)
        return tuple(json.loads(self._process.stdout.readline()))

    def warm_up(self, seconds: float, epochs: int) -> tuple[float, float]:
        """Sets how many epochs a turn has; returns what the first ones took and their loss."""
        first, loss, _ = self.train()
        if epochs:
            self.epochs = epochs
            self.train()
            return first, loss
        self.epochs = max(1, self.epochs // 10)
        self.train()  # another number of epochs may compile again
        took, _, _ = self.train()
        self.epochs = max(1, round(self.epochs * seconds / took))
        self.train()
        return first, loss

    def close(self) -> None:
        self._process.stdin.close()
        self._process.wait()
