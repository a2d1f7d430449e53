"""Files that a disk damages: flipped bits, truncations, deletions."""

import functools
import random
import re
import shutil
import signal
import time
from pathlib import Path

import numpy as np

import spiral_vae
from soak import signals
from soak.lab import Lab, Result
from soak.reference import NUM_CELLS, Reference, load, same_trees, short
from spiral_vae.workdir.life import WorkdirError

_READ = ("config.json", "params.npz", "SHA256SUMS")  # of a finished run, to load a lane


def flips(lab: Lab, reference: Reference, count: int) -> list[Result]:
    """Damages checkpoints and loads them, takes whole runs up again, loads trained lanes."""
    workdir = _stopped(lab)
    newest = {cell: load(workdir, cell) for cell in range(NUM_CELLS)}
    right = _numbers(reference.workdir)
    loaded = functools.partial(_load, reference, workdir, newest)
    lane = functools.partial(_lane, reference, right)
    resume = functools.partial(_resume, lab, reference, workdir)
    return [
        *lab.tries("flips", loaded, count, workers=1),
        *lab.tries("flips_resumed", resume, count // 10),
        *lab.tries("flips_finished", lane, count // 4, workers=1),
    ]


def damage(path: Path, rng: random.Random) -> str:
    """Damages a file; returns how."""
    content = bytearray(path.read_bytes())
    kind = rng.choice(("bit flip", "truncation", "deletion")) if content else "deletion"
    if kind == "deletion":
        path.unlink()
    elif kind == "truncation":
        path.write_bytes(content[: rng.randrange(len(content))])
    else:
        content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
        path.write_bytes(content)
    return kind


def _stopped(lab: Lab) -> Path:
    """Returns the workdir of a run that was stopped while its last cell had checkpoints."""
    folder = lab.new_folder("stopped")
    workdir = folder / "run"
    process = lab.start(folder, *short(workdir))
    last = workdir / "checkpoints" / "group_0" / f"cell_{NUM_CELLS - 1:05d}"
    while len(list(last.glob("epoch_*"))) < 2 and process.wait(0) is None:
        time.sleep(0.01)
    process.send(signal.SIGTERM)
    if (code := process.wait()) != 128 + signal.SIGTERM:
        raise RuntimeError(process.report(f"the run to be damaged ended with {code}"))
    return workdir


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file() and path.name != ".lock")


def _load(
    reference: Reference,
    stopped: Path,
    newest: dict,
    folder: Path,
    rng: random.Random,
    number: int,
) -> Result:
    workdir = shutil.copytree(stopped, folder / "run")
    path = rng.choice(_files(workdir / "checkpoints"))
    cell = int(re.search(r"cell_(\d+)", str(path))[1])
    fault = f"checkpoint: {damage(path, rng)}"
    found = load(workdir, cell)
    if not found:
        return Result(fault, "cells begin anew")
    if not same_trees(found[1], reference.trees.get((cell, found[0]))):
        return Result(fault, "wrong", f"{path}: another tree than was saved")
    older = found[0] < newest[cell][0]
    return Result(fault, "go on from the one before" if older else "go on from the newest")


def _resume(
    lab: Lab,
    reference: Reference,
    stopped: Path,
    folder: Path,
    rng: random.Random,
    number: int,
) -> Result:
    workdir = shutil.copytree(stopped, folder / "run")
    own = number % 5 == 4  # now and then not a checkpoint
    files = [path for path in _files(workdir) if own != ("checkpoints" in path.parts)]
    path = rng.choice(files)
    kind = damage(path, rng)
    fault = f"{'other file' if own else 'checkpoint'}: whole resume"
    result = signals.resumed(lab, reference, folder, fault)
    if own and result.outcome == "failed":
        process = lab.start(folder, *short(workdir))
        if process.end() == 2 and "Traceback" not in process.output:
            return Result(result.fault, "refused with a sentence")
    if result.failure:
        return Result(result.fault, result.outcome, f"{kind} of {path}\n{result.failure}")
    return result


def _lane(
    reference: Reference, right: list, folder: Path, rng: random.Random, number: int
) -> Result:
    for name in _READ:
        shutil.copy(reference.workdir / name, folder)
    name = _READ[number % len(_READ)]
    fault = f"{name} of a finished run: {damage(folder / name, rng)}"
    try:
        found = _numbers(folder)
    except WorkdirError:
        return Result(fault, "refused with a sentence")
    if not same_trees(dict(enumerate(found)), dict(enumerate(right))):
        return Result(fault, "wrong", f"{folder}: load gives other numbers")
    return Result(fault, "right numbers")


def _numbers(workdir: Path) -> list[np.ndarray]:
    """Returns a loaded lane as numbers: its data and where it decodes to."""
    model = spiral_vae.load(workdir, 1)
    return [model.t, model.x, np.asarray(model.decode(np.linspace(-3, 3, 50)[:, None]))]
