"""A run of the command line in a process of its own, to be watched and to be killed."""

import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

LIMIT = 600  # seconds until something hangs


class Process:
    """`python -m spiral_vae.main` with some arguments, from now on."""

    def __init__(
        self,
        code: Path,
        environment: Mapping[str, str],
        folder: Path,
        *args: str,
        program: Sequence[str] = ("-m", "spiral_vae.main"),
        umask: int = -1,
    ):
        """Starts it.

        Args:
          code: the folder with the package.
          environment: its variables.
          folder: gets what it prints.
          args: of the command line.
          program: what Python runs.
          umask: of the process; -1 for that of this one.
        """
        self.args = args
        self._output = folder / f"output_{len(list(folder.glob('output_*')))}"
        self._begin = time.monotonic()
        with open(self._output, "wb") as output:
            self._process = subprocess.Popen(
                [sys.executable, *program, *args],
                cwd=code,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                umask=umask,
            )

    def wait(self, seconds: float = LIMIT) -> int | None:
        """Returns the exit status, or None if it still runs so many seconds after its start."""
        try:
            return self._process.wait(max(0, self._begin + seconds - time.monotonic()))
        except subprocess.TimeoutExpired:
            return None

    def end(self, seconds: float = LIMIT) -> int | None:
        """Returns the exit status; a process that runs for longer is killed and gives None."""
        code = self.wait(seconds)
        if code is None:
            self.send(signal.SIGKILL)
            self._process.wait()
        return code

    def send(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    @property
    def seconds(self) -> float:
        """Seconds since its start."""
        return time.monotonic() - self._begin

    @property
    def output(self) -> str:
        """What it has printed, to both streams."""
        return self._output.read_text(errors="replace")

    def report(self, problem: str) -> str:
        """Returns a problem with the command line and the end of the output."""
        command = shlex.join(["python", "-m", "spiral_vae.main", *self.args])
        return "\n".join([problem, command, *self.output.splitlines()[-15:]])
