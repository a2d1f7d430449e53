"""Two processes that share a run, one of which dies."""

import functools
import random
import signal
import socket
from pathlib import Path

from soak import signals
from soak.lab import Lab, Result
from soak.process import Process
from soak.reference import Reference, short

LIMIT = 360  # seconds within which the other process must have ended: JAX waits 300 to connect


def processes(lab: Lab, reference: Reference, count: int) -> list[Result]:
    """Kills one of two processes; two of them or one alone go on."""
    folder = lab.new_folder("processes")
    pair = _pair(lab, folder)
    for process in pair:
        if process.wait():
            raise RuntimeError(process.report("two processes fail"))
    if found := reference.differences(folder / "run"):
        raise RuntimeError(f"the run of two processes differs: {found}")
    seconds = max(process.seconds for process in pair)
    return lab.tries("processes", functools.partial(_kill, lab, reference, seconds), count)


def _pair(lab: Lab, folder: Path) -> list[Process]:
    """Starts the short run in two processes."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        port = server.getsockname()[1]
    shared = (f"--coordinator=127.0.0.1:{port}", "--num_processes=2")
    return [
        lab.start(folder, *short(folder / "run"), *shared, f"--process_id={k}", devices=1)
        for k in range(2)
    ]


def _kill(
    lab: Lab,
    reference: Reference,
    seconds: float,
    folder: Path,
    rng: random.Random,
    number: int,
) -> Result:
    pair = _pair(lab, folder)
    killed = rng.randrange(2)
    other = pair[1 - killed]
    fault = f"one of two processes killed, {('two', 'one')[number % 2]} went on"
    moment = rng.uniform(0, seconds)
    if pair[killed].wait(moment) is None:
        pair[killed].send(signal.SIGKILL)
        pair[killed].wait()
        code = other.end(other.seconds + LIMIT)
        if code is None:
            problem = f"process {1 - killed} runs on when the other is killed at {moment:.2f} s"
            return Result(fault, "hung", other.report(problem))
        if code == 0 and signals.phase(folder / "run") != "at its end":
            return Result(fault, "failed", other.report("it ends with 0 before the run does"))
    if number % 2:
        return signals.resumed(lab, reference, folder, fault)
    pair = _pair(lab, folder)
    codes = [process.end() for process in pair]
    if codes != [0, 0]:
        bad = pair[0] if codes[0] else pair[1]
        return Result(fault, "failed", bad.report(f"they end with {codes} when they are resumed"))
    if found := reference.differences(folder / "run"):
        return Result(fault, "different", pair[0].report(f"differs in {found}"))
    return Result(fault, "identical")
