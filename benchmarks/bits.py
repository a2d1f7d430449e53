"""Whether two checkouts train to the same bits and find the same numbers.

    python -m benchmarks.bits OTHER_CHECKOUT [--only=NAME,NAME] [--keep=FOLDER]

Each run is made by the command line of both. params.npz must hold the same arrays, bit for bit;
summary.csv must agree to 1e-12 in all columns that both have, relative to the number, to 1 or, as
gaps are its differences, to the elbo. Ends with status 1 if anything differs.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from spiral_vae.workdir import files

HERE = Path(__file__).resolve().parents[1]
TOLERANCE = 1e-12
_SHORT = ("--config.train.num_epochs=100", "--config.num_seeds=2")
_HETEROSCEDASTIC = (*_SHORT, "--config.likelihood.kind=heteroscedastic")
RUNS = {
    "basic": (),
    "recommended": (
        "--config=configs/recommended.py",
        "--config.num_seeds=8",
        "--config.train.num_epochs=300",
    ),
    "geco": (*_SHORT, "--config.likelihood.kind=geco"),
    "geco_kappa": (*_SHORT, "--config.likelihood.kind=geco", "--config.likelihood.kappa=0.2"),
    "closed_form": (*_SHORT, "--config.likelihood.kind=closed_form"),
    "batch": (
        *_SHORT,
        "--config.likelihood.kind=closed_form",
        "--config.likelihood.estimator=batch",
    ),
    "per_dimension": (*_SHORT, "--config.likelihood.kind=per_dimension"),
    "per_dimension_learned": (
        *_SHORT,
        "--config.likelihood.kind=per_dimension",
        "--config.likelihood.estimator=learned",
        "--config.likelihood.stabiliser=warmup",
    ),
    "full_covariance": (
        *_SHORT,
        "--config.likelihood.kind=full_covariance",
        "--config.likelihood.estimator=moving_average",
        "--config.likelihood.stabiliser=warmup",
    ),
    **{
        stabiliser: (*_HETEROSCEDASTIC, f"--config.likelihood.stabiliser={stabiliser}")
        for stabiliser in ("none", "beta_nll", "faithful", "warmup", "student_t", "variational")
    },
    "two_latents": (*_SHORT, "--config.model.latent_dim=2"),
    "widths": (*_SHORT, "--sweep=model.decoder.hidden_dim=8,32"),
    "noise": (
        *_SHORT,
        "--config.data.noise_sigma_x=0.1",
        "--config.data.noise_angle=0.5",
        "--config.data.noise_slope=0.1",
        "--config.data.design=random",
        "--config.data.t_law=uniform",
    ),
    "ramps": (
        *_SHORT,
        "--config.objective.kl_warmup=0.5",
        "--config.optimizer.schedule=cosine",
        "--config.optimizer.warmup=0.2",
    ),
}


def run(checkout: Path, folder: Path, args: tuple[str, ...]) -> None:
    """Runs a checkout's command line into a new folder; raises if it fails."""
    environment = os.environ | {"JAX_COMPILATION_CACHE_DIR": str(folder.parent / "cache")}
    command = [sys.executable, "-m", "spiral_vae.main", *args, f"--workdir={folder}"]
    subprocess.run(command, cwd=checkout, env=environment, check=True, stdout=subprocess.DEVNULL)


def differences(one: Path, other: Path) -> list[str]:
    """Returns in what two workdirs differ."""
    found = []
    with np.load(one / "params.npz") as a, np.load(other / "params.npz") as b:
        if set(a.files) != set(b.files):
            found.append(f"names {sorted(set(a.files) ^ set(b.files))}")
        found += [
            f"{name} by up to {np.max(np.abs(a[name] - b[name]), initial=0):.2g}"
            for name in a.files
            if name in b.files and a[name].tobytes() != b[name].tobytes()
        ]
    tables = [files.read_csv(folder / "summary.csv") for folder in (one, other)]
    for name in tables[0].keys() & tables[1].keys():
        x, y = (np.asarray(table[name]) for table in tables)
        if x.dtype.kind == "f":
            scale = np.maximum.reduce([np.ones(len(x)), np.abs(x), np.abs(tables[0]["elbo"])])
            worst = np.nanmax(np.abs(x - y) / scale) if np.isfinite(x).any() else 0.0
            if worst > TOLERANCE or np.any(np.isnan(x) != np.isnan(y)):
                found.append(f"column {name} by {worst:.2g}")
        elif np.any(x != y):
            found.append(f"column {name}")
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("other", type=Path, help="the other checkout")
    parser.add_argument("--only", help="names of runs, separated by commas")
    parser.add_argument("--keep", type=Path, help="where the workdirs stay, and those there count")
    flags = parser.parse_args()
    names = flags.only.split(",") if flags.only else list(RUNS)
    with tempfile.TemporaryDirectory() as temporary:
        root, failed = flags.keep or Path(temporary), False
        for name in names:
            folders = [root / side / name for side in ("other", "own")]
            for folder, checkout in zip(folders, (flags.other.resolve(), HERE), strict=True):
                if not (folder / "summary.csv").exists():
                    shutil.rmtree(folder, ignore_errors=True)
                    folder.parent.mkdir(parents=True, exist_ok=True)
                    run(checkout, folder, RUNS[name])
            found = differences(*folders)
            failed |= bool(found)
            print(f"{name}: {'; '.join(found) or 'the same'}", flush=True)
    sys.exit(failed)


if __name__ == "__main__":
    main()
