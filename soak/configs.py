"""Configs and command lines from a fuzzer."""

import concurrent.futures
import json
import subprocess
import sys

from tqdm import tqdm

from soak.lab import Lab, Result


def configs(lab: Lab, count: int) -> list[Result]:
    """Gives random command lines; each is refused with a sentence, or begins to run."""
    folder = lab.new_folder("configs")

    def some(first: int) -> list[Result]:
        numbers = map(str, (lab.seed, first, count, lab.workers))
        found = []
        with subprocess.Popen(
            [sys.executable, "-m", "soak.forks", str(folder), *numbers],
            cwd=lab.code,
            env=lab.environment,
            stdout=subprocess.PIPE,
            text=True,
        ) as process:
            for line in process.stdout:
                found.append(Result(**json.loads(line)))
                lab.tell(found[-1])
                bar.update()
        if process.returncode:
            raise RuntimeError(f"soak.forks ended with {process.returncode}")
        return found

    with (
        tqdm(total=count, desc="configs", disable=None) as bar,
        concurrent.futures.ThreadPoolExecutor(lab.workers) as pool,
    ):
        return [result for part in pool.map(some, range(lab.workers)) for result in part]
