"""Runs that are killed or asked to stop at any moment, and taken up again."""

import functools
import random
import signal
from pathlib import Path

from soak.lab import Lab, Result
from soak.reference import Reference, short
from spiral_vae.workdir import life

_TWICE = 0.25  # of the runs that are killed are killed once more after they were taken up again


def kills(lab: Lab, reference: Reference, count: int) -> list[Result]:
    """Kills runs at moments spread evenly over the time that they take."""
    return lab.tries("kills", functools.partial(_kill, lab, reference), count)


def terms(lab: Lab, reference: Reference, count: int) -> list[Result]:
    """Stops runs at any moment by SIGTERM or Ctrl-C, some of them twice."""
    return lab.tries("terms", functools.partial(_term, lab, reference), count)


def phase(workdir: Path) -> str:
    """Returns how far a run has come."""
    if not life.has_begun(workdir):
        return "starting"
    if not (workdir / life.PARAMS).exists():
        return "training"
    if not (workdir / life.SUMMARY).exists():
        return "evaluating"
    return "at its end" if life.is_finished(workdir) else "writing and drawing"


def resumed(lab: Lab, reference: Reference, folder: Path, fault: str) -> Result:
    """Goes on with the run in folder/run to its end and judges it."""
    process = lab.start(folder, *short(folder / "run"))
    code = process.end()
    if code is None:
        return Result(fault, "hung", process.report("it hangs when it is resumed"))
    if code:
        return Result(fault, "failed", process.report(f"it ends with {code} when it is resumed"))
    if found := reference.differences(folder / "run"):
        return Result(fault, "different", process.report(f"differs in {found}"))
    return Result(fault, "identical")


def _kill(lab: Lab, reference: Reference, folder: Path, rng: random.Random, number: int) -> Result:
    workdir = folder / "run"
    fault = "SIGKILL, finished before"
    for again in range(1 + (rng.random() < _TWICE)):
        process = lab.start(folder, *short(workdir))
        if process.wait(rng.uniform(0, reference.seconds)) is None:
            process.send(signal.SIGKILL)
            process.wait()
            fault = "SIGKILL, twice" if again else f"SIGKILL while {phase(workdir)}"
    return resumed(lab, reference, folder, fault)


def _term(lab: Lab, reference: Reference, folder: Path, rng: random.Random, number: int) -> Result:
    workdir = folder / "run"
    stop, again = ((signal.SIGTERM, False), (signal.SIGINT, False), (signal.SIGINT, True))[
        max(0, number % 10 - 7)
    ]
    name = f"{stop.name}{', twice' * again}"
    process = lab.start(folder, *short(workdir))
    if process.wait(rng.uniform(0, reference.seconds)) is not None:
        return resumed(lab, reference, folder, f"{name}, finished before")
    process.send(stop)
    fault = f"{name} while {phase(workdir)}"
    if again and process.wait(process.seconds + rng.uniform(0, 1)) is None:
        process.send(stop)
    code = process.end()
    begun, finished = life.has_begun(workdir), phase(workdir) == "at its end"
    # A process that does not listen yet, or no more, is ended by the signal itself.
    well = code == 128 + stop or (code == 0 and finished)
    if not well and (code != -stop or begun != finished):
        return Result(fault, "wrong exit status", process.report(f"it ends with {code}"))
    if "Traceback" in process.output and (begun or code != -stop):
        return Result(fault, "traceback", process.report("it prints a traceback"))
    return resumed(lab, reference, folder, fault)
