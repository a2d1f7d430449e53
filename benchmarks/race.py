"""Contestants side by side: each in its own process, taking turns on one machine."""

import dataclasses
import json
import statistics
import subprocess
import sys
from collections.abc import Sequence


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
    for worker in workers:
        worker.warm_up(seconds, epochs)
    answers = [[worker.train() for worker in workers] for _ in range(turns)]
    found = []
    for i, worker in enumerate(workers):
        per_epoch = [turn[i][0] / worker.epochs / worker.contestant.seeds * 1e6 for turn in answers]
        found.append(Time(worker.contestant, per_epoch, answers[-1][i][1]))
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
        self.epochs = 1

    def train(self) -> tuple[float, float]:
        """Returns the seconds of so many epochs, and the process's peak memory."""
        print(self.epochs, file=self._process.stdin, flush=True)
        return tuple(json.loads(self._process.stdout.readline()))

    def warm_up(self, seconds: float, epochs: int) -> None:
        """Sets how many epochs a turn has, and compiles for that number."""
        while not epochs:
            self.train()  # another number of epochs may compile again
            took, _ = self.train()
            if took > 0.05 * seconds:
                epochs = max(1, round(self.epochs * seconds / took))
            self.epochs *= 20
        self.epochs = epochs
        self.train()

    def close(self) -> None:
        self._process.stdin.close()
        self._process.wait()
